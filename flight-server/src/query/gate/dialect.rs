//! The dialect of all statements: sqlparser's generic one, which reads past versions too, and `IS DISTINCT FROM` where it ends.
//!
//! The generic dialect does not know `VERSION AS OF`, and those that do lack much else. Every choice of the generic one is passed
//! on here by name; a test holds the list against the parser's own source of choices, statement by statement. Only statements
//! that have the clause are read with it, because it takes a few more words for its own (`AT`, `BEFORE`, `CHANGES`).

use std::any::TypeId;

use datafusion::sql::sqlparser::ast::Expr;
use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect, Precedence};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

/// The dialect in which these tokens are read.
pub(super) fn of(tokens: &[TokenWithSpan]) -> &'static dyn Dialect {
    if reads_the_past(tokens) { &PAST } else { &PRESENT }
}

/// Whether `VERSION`, `TIMESTAMP` or `SYSTEM_TIME` stands before `AS OF` anywhere.
fn reads_the_past(tokens: &[TokenWithSpan]) -> bool {
    let mut words = ["", "", ""];
    for token in tokens {
        let word = match &token.token {
            Token::Whitespace(_) => continue,
            Token::Word(word) if word.quote_style.is_none() => word.value.as_str(),
            _ => "",
        };
        words = [words[1], words[2], word];
        let is = |at: usize, what: &str| words[at].eq_ignore_ascii_case(what);
        if is(1, "AS")
            && is(2, "OF")
            && (is(0, "VERSION") || is(0, "TIMESTAMP") || is(0, "SYSTEM_TIME"))
        {
            return true;
        }
    }
    false
}

/// See the module.
#[derive(Debug)]
struct ServerDialect {
    reads_the_past: bool,
}

static PRESENT: ServerDialect = ServerDialect { reads_the_past: false };
static PAST: ServerDialect = ServerDialect { reads_the_past: true };

/// Passes choices on to the generic dialect.
macro_rules! as_generic {
    ($($choice:ident),* $(,)?) => {
        $(fn $choice(&self) -> bool {
            GenericDialect.$choice()
        })*
    };
}

impl Dialect for ServerDialect {
    /// The parser asks for this where it goes by the dialect itself.
    fn dialect(&self) -> TypeId {
        TypeId::of::<GenericDialect>()
    }

    fn supports_table_versioning(&self) -> bool {
        self.reads_the_past
    }

    /// The parser takes all that follows for the second operand, an AND or OR behind it included.
    fn parse_infix(
        &self,
        parser: &mut Parser<'_>,
        expr: &Expr,
        _precedence: u8,
    ) -> Option<Result<Expr, ParserError>> {
        use Keyword::{DISTINCT, FROM, IS, NOT};
        let is_negated = match () {
            () if parser.parse_keywords(&[IS, DISTINCT, FROM]) => false,
            () if parser.parse_keywords(&[IS, NOT, DISTINCT, FROM]) => true,
            () => return None,
        };
        let other = parser.parse_subexpr(self.prec_value(Precedence::Is));
        let (expr, of) = (Box::new(expr.clone()), |negated| match negated {
            true => Expr::IsNotDistinctFrom,
            false => Expr::IsDistinctFrom,
        });
        Some(other.map(|other| of(is_negated)(expr, Box::new(other))))
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        GenericDialect.is_delimited_identifier_start(ch)
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        GenericDialect.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        GenericDialect.is_identifier_part(ch)
    }

    as_generic!(
        supports_unicode_string_literal,
        supports_partition_by_after_order_by,
        supports_array_join_syntax,
        supports_group_by_expr,
        supports_group_by_with_modifier,
        supports_left_associative_joins_without_parens,
        supports_connect_by,
        supports_match_recognize,
        supports_pipe_operator,
        supports_start_transaction_modifier,
        supports_window_function_null_treatment_arg,
        supports_dictionary_syntax,
        supports_window_clause_named_window_reference,
        supports_parenthesized_set_variables,
        supports_select_wildcard_except,
        support_map_literal_syntax,
        allow_extract_custom,
        allow_extract_single_quotes,
        supports_extract_comma_syntax,
        supports_create_view_comment_syntax,
        supports_parens_around_table_factor,
        supports_values_as_table_factor,
        supports_create_index_with_clause,
        supports_explain_with_utility_options,
        supports_limit_comma,
        supports_update_order_by,
        supports_from_first_select,
        supports_projection_trailing_commas,
        supports_asc_desc_in_column_definition,
        supports_try_convert,
        supports_bitwise_shift_operators,
        supports_comment_on,
        supports_load_extension,
        supports_named_fn_args_with_assignment_operator,
        supports_struct_literal,
        supports_empty_projections,
        supports_nested_comments,
        supports_multiline_comment_hints,
        supports_user_host_grantee,
        supports_string_escape_constant,
        supports_array_typedef_with_brackets,
        supports_match_against,
        supports_set_names,
        supports_comma_separated_set_assignments,
        supports_filter_during_aggregation,
        supports_select_wildcard_exclude,
        supports_data_type_signed_suffix,
        supports_interval_options,
        supports_quote_delimited_string,
        supports_select_wildcard_replace,
        supports_select_wildcard_ilike,
        supports_select_wildcard_rename,
        supports_optimize_table,
        supports_install,
        supports_detach,
        supports_prewhere,
        supports_with_fill,
        supports_limit_by,
        supports_interpolate,
        supports_settings,
        supports_select_format,
        supports_comment_optimizer_hint,
        supports_constraint_keyword_without_name,
        supports_key_column_option,
        supports_comma_separated_trim,
        supports_cte_without_as,
        supports_select_item_multi_column_alias,
        supports_xml_expressions
    );
}
