//! Columns of an answer that have one name: `SELECT price, price`, `SELECT *, price`, `SELECT *, 2 AS price`,
//! `SELECT count(*), count(*)`. A cast is called what it casts, so `SELECT price, CAST(price AS TEXT)` is one, too.
//!
//! Answers may have such columns, plans may not. So the later ones get names of their own here, which `query::shown` takes back from
//! what the client sees. Only the columns of the statement itself: a subquery or a table has no two columns of one name.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Query, Select, SelectItem, SetExpr, Statement as SqlStatement, Visit,
    helpers::attached_token::AttachedToken, visit_expressions, visit_expressions_mut,
};

/// Names given to columns, and the names that they have in the answer: those as written, or what their expressions are called.
pub(crate) type Repeats = BTreeMap<String, Option<String>>;

/// How such a name begins. Nobody writes one like it.
const MARK: &str = "\u{1}column ";

/// Renames repeated columns of a query.
pub(super) fn rename(statement: &mut DfStatement) -> Repeats {
    let mut repeats = Repeats::new();
    match statement {
        DfStatement::Statement(statement) => {
            if let SqlStatement::Query(query) = statement.as_mut() {
                answer(query, &Mentioned::new(), &mut repeats);
            }
        }
        DfStatement::Explain(explain) => return rename(&mut explain.statement),
        // Refused by the gate; nothing in them is looked at.
        _ => {}
    }
    repeats
}

fn answer(query: &mut Query, outside: &Mentioned, repeats: &mut Repeats) {
    let mut mentioned = mentioned(&query.order_by);
    mentioned.extend(outside.iter().cloned());
    body(&mut query.body, &mentioned, repeats);
}

fn body(set: &mut SetExpr, mentioned: &Mentioned, repeats: &mut Repeats) {
    match set {
        SetExpr::Select(select) => items(select, mentioned, repeats),
        SetExpr::Query(query) => answer(query, mentioned, repeats),
        SetExpr::SetOperation { left, right, .. } => {
            body(left, mentioned, repeats);
            body(right, mentioned, repeats);
        }
        _ => {}
    }
}

/// Names by which clauses may mean columns of the answer, so that no column may lose them.
type Mentioned = HashSet<String>;

fn mentioned(clause: &impl Visit) -> Mentioned {
    let mut names = Mentioned::new();
    let _: ControlFlow<()> = visit_expressions(clause, |expr| {
        if let Expr::Identifier(name) = expr {
            names.insert(folded(name));
        }
        ControlFlow::Continue(())
    });
    names
}

fn items(select: &mut Select, outside: &Mentioned, repeats: &mut Repeats) {
    let is_wildcard = |item: &SelectItem| {
        matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..))
    };
    let has_wildcard = select.projection.iter().any(is_wildcard);
    let mut kept = Mentioned::new();
    if has_wildcard {
        kept = mentioned(&select.group_by);
        kept.extend(mentioned(&select.having));
        kept.extend(mentioned(&select.qualify));
        kept.extend(mentioned(&select.distinct));
        kept.extend(outside.iter().cloned());
    }
    let mut seen = Seen::default();
    let is_alone = select.projection.len() == 1;
    for item in &mut select.projection {
        let (expr, name) = match item {
            SelectItem::UnnamedExpr(expr) => (expr, None),
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(folded(alias))),
            _ => continue,
        };
        let column = column(expr).filter(|parts| name.is_none() || parts.last() == name.as_ref());
        let repeats_one = match (&column, &name) {
            // What a wildcard stands for is not known here.
            (Some(parts), _) => seen.column(parts) || has_wildcard,
            (None, Some(name)) => seen.alias(name) || has_wildcard && !kept.contains(name),
            (None, None) => {
                has_subquery(expr) && !is_alone || seen.takes(Key::Expr(without_casts(expr)))
            }
        };
        if repeats_one {
            let alias = format!("{MARK}{}", repeats.len());
            let expr = expr.clone();
            *item = SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', &alias) };
            repeats.insert(alias, name);
        }
    }
}

/// The columns before one.
#[derive(Default)]
struct Seen(HashSet<Key>);

impl Seen {
    /// Whether there was one like it.
    fn takes(&mut self, key: Key) -> bool {
        !self.0.insert(key)
    }

    /// The same of an alias: no column may have that name, wherever it is from.
    fn alias(&mut self, name: &str) -> bool {
        let is_column = self.0.contains(&Key::Last(name.to_owned()));
        self.takes(Key::Alias(name.to_owned())) || is_column
    }

    /// The same of a column by the parts of its name. Whether `a.x` is `x` only the tables can tell; a name too many does no harm.
    fn column(&mut self, parts: &[String]) -> bool {
        let last = parts.last().cloned().unwrap_or_default();
        let was_bare = self.0.contains(&Key::Bare(last.clone()));
        let was_last = self.takes(Key::Last(last.clone()));
        let is_bare = parts.len() == 1;
        if is_bare {
            self.0.insert(Key::Bare(last.clone()));
        }
        let was_alias = self.0.contains(&Key::Alias(last));
        self.takes(Key::Column(parts.join("."))) || was_alias || was_bare || is_bare && was_last
    }
}

/// What a column of an answer is recognised by.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    /// A column as it is written.
    Column(String),
    /// The name of a column that is written without its table.
    Bare(String),
    /// The name of a column, however it is written.
    Last(String),
    Alias(String),
    /// Any other expression, see [`without_casts`].
    Expr(String),
}

/// Whether there is a subquery in an expression: what that is called says nothing of most of it.
fn has_subquery(expr: &Expr) -> bool {
    visit_expressions(expr, |part| match part {
        Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })
    .is_break()
}

/// What an expression is called, as far as two are compared: in lower case.
fn without_casts(expr: &Expr) -> String {
    let mut expr = expr.clone();
    let _: ControlFlow<()> = visit_expressions_mut(&mut expr, |part| {
        while let Expr::Cast { expr, .. } = part {
            let inner = std::mem::replace(expr.as_mut(), Expr::Wildcard(AttachedToken::empty()));
            *part = inner;
        }
        ControlFlow::Continue(())
    });
    expr.to_string().to_lowercase()
}

/// The parts of the name of a column, or of one that is cast.
fn column(expr: &Expr) -> Option<Vec<String>> {
    match expr {
        Expr::Cast { expr, .. } | Expr::Nested(expr) => column(expr),
        Expr::Identifier(name) => Some(vec![folded(name)]),
        Expr::CompoundIdentifier(parts) => Some(parts.iter().map(folded).collect()),
        _ => None,
    }
}

fn folded(name: &Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() }
}
