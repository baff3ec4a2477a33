//! How large a statement is, in the measures that planning time and stack depth depend on.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::{
    Expr, ObjectName, Query, Select, SetExpr, Statement as SqlStatement, Visit, Visitor,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};
use tonic::Status;

use crate::limits;
use crate::status;

/// Tokens of the text with every `?` numbered, and the number of parameters.
///
/// # Errors
/// INVALID_ARGUMENT for text that has no tokens of SQL and for exceeded limits.
pub(super) fn tokens(sql: &str) -> Result<(Vec<TokenWithSpan>, usize), Status> {
    let mut tokens = Tokenizer::new(&GenericDialect {}, sql)
        .tokenize_with_location()
        .map_err(|error| status::invalid(format!("the statement cannot be read: {error}")))?;
    if tokens.len() > limits::SQL_TOKENS_MAX {
        return Err(status::invalid(format!(
            "the statement has {} tokens, but at most {} are taken; send data with an append or as parameters",
            tokens.len(),
            limits::SQL_TOKENS_MAX
        )));
    }
    chains(&tokens)?;
    let parameters = number_parameters(&mut tokens)?;
    Ok((tokens, parameters))
}

/// Checks chains before there is a tree: a tree of a long chain is too deep even to be dropped.
fn chains(tokens: &[TokenWithSpan]) -> Result<(), Status> {
    let mut open = vec![0_usize];
    let (mut set_operations, mut joins) = (0_usize, 0_usize);
    for token in tokens {
        let Some(terms) = open.last_mut() else { break };
        match &token.token {
            Token::LParen | Token::LBracket | Token::LBrace => {
                *terms += 1;
                open.push(0);
            }
            Token::RParen | Token::RBracket | Token::RBrace => {
                if open.len() > 1 {
                    open.pop();
                }
            }
            // An argument or an item of a list starts a new chain.
            Token::Comma | Token::SemiColon => *terms = 0,
            Token::Whitespace(_) | Token::EOF | Token::Period => {}
            Token::Word(word) => match word.keyword {
                Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT | Keyword::MINUS => {
                    set_operations += 1;
                    *terms = 0;
                }
                Keyword::JOIN => {
                    joins += 1;
                    *terms = 0;
                }
                Keyword::SELECT
                | Keyword::FROM
                | Keyword::WHERE
                | Keyword::GROUP
                | Keyword::HAVING
                | Keyword::ORDER
                | Keyword::WHEN
                | Keyword::THEN
                | Keyword::ELSE => *terms = 0,
                Keyword::AND
                | Keyword::OR
                | Keyword::XOR
                | Keyword::NOT
                | Keyword::IS
                | Keyword::IN
                | Keyword::LIKE
                | Keyword::ILIKE
                | Keyword::SIMILAR
                | Keyword::BETWEEN
                | Keyword::COLLATE
                | Keyword::AT
                | Keyword::DIV => *terms += 1,
                _ => {}
            },
            Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::DoubleQuotedString(_)
            | Token::Placeholder(_) => {}
            // Every other token is an operator, or is so rare that counting it as one does no harm.
            _ => *terms += 1,
        }
        if open.last().is_some_and(|terms| *terms >= limits::EXPRESSION_TERMS_MAX) {
            return Err(too_many("terms in one expression", limits::EXPRESSION_TERMS_MAX));
        }
    }
    if set_operations > limits::SET_OPERATIONS_MAX {
        return Err(too_many("set operations", limits::SET_OPERATIONS_MAX));
    }
    if joins > limits::JOINS_MAX {
        return Err(too_many("joins", limits::JOINS_MAX));
    }
    Ok(())
}

fn too_many(what: &str, max: usize) -> Status {
    status::invalid(format!(
        "the statement has more than {max} {what}; use IN lists, a join with a table of values, or several statements"
    ))
}

/// Turns every `?` into `$1`, `$2`, … in the order of the text; returns the number of parameters.
fn number_parameters(tokens: &mut [TokenWithSpan]) -> Result<usize, Status> {
    let (mut anonymous, mut numbered) = (0_usize, 0_usize);
    for token in tokens {
        let Token::Placeholder(name) = &mut token.token else { continue };
        if name == "?" {
            anonymous += 1;
            *name = format!("${anonymous}");
        } else {
            let number = name.get(1..).and_then(|digits| digits.parse::<usize>().ok());
            match number {
                Some(number) if (1..=limits::PARAMETERS_MAX).contains(&number) => {
                    *name = format!("${number}");
                    numbered = numbered.max(number);
                }
                _ => {
                    return Err(status::invalid(format!(
                        "the parameter \"{name}\" is not supported; write ? or $1 to ${}",
                        limits::PARAMETERS_MAX
                    )));
                }
            }
        }
    }
    if anonymous > 0 && numbered > 0 {
        return Err(status::invalid(
            "the statement mixes ? with numbered parameters; use one kind",
        ));
    }
    if anonymous > limits::PARAMETERS_MAX {
        return Err(too_many("parameters", limits::PARAMETERS_MAX));
    }
    Ok(anonymous.max(numbered))
}

/// Checks the depth of expressions, the joins and the size after common table expressions are written out.
///
/// # Errors
/// INVALID_ARGUMENT for exceeded limits.
pub(super) fn tree(statement: &DfStatement) -> Result<(), Status> {
    let mut shape = Shape::default();
    if super::visit(statement, &mut shape).is_break() {
        return Err(too_many("levels of nested expressions", EXPRESSION_DEPTH_MAX));
    }
    if shape.joins > limits::JOINS_MAX {
        return Err(too_many("joins", limits::JOINS_MAX));
    }
    if expanded_statement(statement) > limits::CTE_EXPANSION_MAX {
        return Err(too_many(
            "tables once its WITH clauses are written out",
            limits::CTE_EXPANSION_MAX,
        ));
    }
    Ok(())
}

/// A chain at the limit inside the deepest nesting that the parser allows.
const EXPRESSION_DEPTH_MAX: usize = limits::EXPRESSION_TERMS_MAX + 2 * limits::PARSER_DEPTH_MAX;

#[derive(Default)]
struct Shape {
    depth: usize,
    joins: usize,
}

impl Visitor for Shape {
    type Break = ();

    fn pre_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        self.depth += 1;
        if self.depth > EXPRESSION_DEPTH_MAX {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn post_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        self.joins += select.from.len().saturating_sub(1);
        self.joins += select.from.iter().map(|from| from.joins.len()).sum::<usize>();
        ControlFlow::Continue(())
    }
}

fn expanded_statement(statement: &DfStatement) -> usize {
    match statement {
        DfStatement::Statement(statement) => match statement.as_ref() {
            SqlStatement::Query(query) => expanded(query, &HashMap::new()),
            SqlStatement::Insert(insert) => {
                insert.source.as_ref().map_or(0, |query| expanded(query, &HashMap::new()))
            }
            SqlStatement::CreateTable(table) => {
                table.query.as_ref().map_or(0, |query| expanded(query, &HashMap::new()))
            }
            _ => 0,
        },
        DfStatement::Explain(explain) => expanded_statement(&explain.statement),
        _ => 0,
    }
}

/// Tables of a query when each common table expression is replaced by its text wherever it is used.
fn expanded(query: &Query, outer: &HashMap<String, usize>) -> usize {
    let mut sizes = outer.clone();
    if let Some(with) = &query.with {
        for cte in &with.cte_tables {
            let size = expanded(&cte.query, &sizes);
            sizes.insert(folded(&cte.alias.name.value, cte.alias.name.quote_style), size.max(1));
        }
    }
    let mut counter = Expansion { sizes: &sizes, nesting: 0, total: 0 };
    let _counted = counted_body(&query.body, &mut counter);
    counter.total
}

fn counted_body(body: &SetExpr, counter: &mut Expansion<'_>) -> ControlFlow<()> {
    body.visit(counter)
}

/// Sums the tables of one query body; queries inside it are measured by [`expanded`] with their own WITH clauses.
struct Expansion<'a> {
    sizes: &'a HashMap<String, usize>,
    nesting: usize,
    total: usize,
}

impl Visitor for Expansion<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if self.nesting == 0 {
            self.total = self.total.saturating_add(expanded(query, self.sizes));
        }
        self.nesting += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.nesting -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        if self.nesting == 0 {
            let size = match relation.0.as_slice() {
                [part] => part.as_ident().and_then(|ident| {
                    self.sizes.get(&folded(&ident.value, ident.quote_style)).copied()
                }),
                _ => None,
            };
            self.total = self.total.saturating_add(size.unwrap_or(1));
        }
        ControlFlow::Continue(())
    }
}

fn folded(name: &str, quote: Option<char>) -> String {
    if quote.is_some() { name.to_owned() } else { name.to_lowercase() }
}
