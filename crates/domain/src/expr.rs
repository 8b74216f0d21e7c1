//! Conditions and constraints over parameters, in CEL: `opt == "sgd"`, `width * batch <= 65536`.
//! Compiles and computes them; whether they make sense for a space is found in `crate::check`.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Params, Value};

/// A compiled expression that keeps its source. Two expressions are equal when their sources are.
#[derive(Clone)]
pub struct Expr {
    source: Arc<str>,
    program: Arc<cel::Program>,
    mentions: Arc<BTreeSet<String>>,
}

/// The longest expression, in bytes: conditions are read by people.
const LONGEST: usize = 4_096;
/// How deep brackets may nest; the parser recurses for each.
const DEEPEST: usize = 32;
/// How many characters of operators it may have. Each can be a level of the tree, and trees are walked by recursion.
const OPERATORS: usize = 256;

/// Why a text is not an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{source_text}` is not a CEL expression: {why}")]
pub struct ParseError {
    source_text: String,
    why: String,
    range: Option<Range<usize>>,
    hint: Option<&'static str>,
}

impl ParseError {
    /// What is wrong, without the expression.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// The bytes of the expression that are to blame, where they are known.
    pub fn range(&self) -> Option<Range<usize>> {
        self.range.clone()
    }

    /// What to do about it, where something is known.
    pub const fn hint(&self) -> Option<&'static str> {
        self.hint
    }

    fn whole(source_text: &str, why: String) -> Self {
        Self { source_text: source_text.to_owned(), why, range: None, hint: None }
    }

    /// The parser's first error in fewer words: it lists every token that would have been possible.
    fn first(source_text: &str, errors: &cel::ParseErrors) -> Self {
        let Some(error) = errors.errors.first() else { return Self::whole(source_text, errors.to_string()) };
        let (line, column) = error.pos;
        let line_start: usize =
            source_text.split_inclusive('\n').take(usize::try_from(line - 1).unwrap_or(0)).map(str::len).sum();
        let skipped = usize::try_from(column - 1).unwrap_or(0);
        let rest = source_text.get(line_start..).unwrap_or_default();
        let at = line_start + rest.chars().take(skipped).map(char::len_utf8).sum::<usize>();
        let text = error.msg.trim_start_matches("Syntax error: ");
        let quoted = text.split_once('\'').map(|(_, rest)| rest.rsplit_once('\'').map_or(rest, |(token, _)| token));
        let token = quoted.unwrap_or_default().split("' expecting").next().unwrap_or_default();
        let mut range = at..at + token.len();
        let missing = text.strip_prefix("missing '").and_then(|rest| rest.split_once("' at "));
        let before = source_text[..at.min(source_text.len())].split_whitespace().next_back();
        let (why, hint) = if let Some((missing, _)) = missing {
            range = at..at;
            (format!("a `{missing}` is missing"), None)
        } else if before == Some("not") {
            ("`not` is not an operator".to_owned(), Some("write `!(...)`"))
        } else if token == "<EOF>" {
            range = at..at;
            ("it ends too early".to_owned(), None)
        } else if text.starts_with("token recognition error") && token.starts_with(['\'', '"']) {
            ("a quote is never closed".to_owned(), None)
        } else if token.starts_with('=') {
            range = at..at + 1;
            ("`=` is not an operator".to_owned(), Some("write `==`"))
        } else if ["and", "or", "not"].contains(&token) {
            (format!("`{token}` is not an operator"), Some("write `&&`, `||` or `!`"))
        } else if token == "*" && source_text.contains("**") {
            ("`**` is not an operator".to_owned(), Some("write a product, such as `x * x`"))
        } else if token.is_empty() {
            range = at..at;
            (text.split(" expecting").next().unwrap_or(text).to_owned(), None)
        } else {
            (format!("`{}` is not expected here", token.trim()), None)
        };
        Self { source_text: source_text.to_owned(), why, range: Some(range), hint }
    }
}

/// Whether `node` loops over something. Nested loops take for ever, and parameters give nothing to loop over.
fn has_loop(node: &cel::IdedExpr) -> bool {
    use cel::common::ast::Expr as Ast;
    match &node.expr {
        Ast::Comprehension(_) => true,
        Ast::Call(call) => call.args.iter().chain(call.target.as_deref()).any(has_loop),
        Ast::List(list) => list.elements.iter().any(has_loop),
        Ast::Select(select) => has_loop(&select.operand),
        Ast::Map(map) => map.entries.iter().any(entry_has_loop),
        Ast::Struct(fields) => fields.entries.iter().any(entry_has_loop),
        Ast::Unspecified | Ast::Ident(_) | Ast::Literal(_) => false,
    }
}

fn entry_has_loop(entry: &cel::common::ast::IdedEntryExpr) -> bool {
    use cel::common::ast::EntryExpr;
    match &entry.expr {
        EntryExpr::StructField(field) => has_loop(&field.value),
        EntryExpr::MapEntry(entry) => has_loop(&entry.key) || has_loop(&entry.value),
    }
}

/// The deepest nesting of brackets in `source`, those within quotes included.
fn nesting(source: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for c in source.chars() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Why an expression has no truth value for some parameters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// It mentions a parameter that has no value here: it is inactive, or unknown.
    #[error("`{0}` has no value here")]
    Missing(String),
    /// It is not defined for these values, or it is not a condition.
    #[error("`{source_text}` {why}")]
    Undefined {
        /// The expression.
        source_text: String,
        /// Why it has no truth value.
        why: String,
    },
}

impl Expr {
    /// Compiles `source`.
    ///
    /// # Errors
    /// Why it is not an expression, and where.
    pub fn parse(source: &str) -> Result<Self, ParseError> {
        if source.trim().is_empty() {
            return Err(ParseError::whole(source, "it is empty".into()));
        }
        if source.len() > LONGEST {
            return Err(ParseError::whole("...", format!("it is longer than {LONGEST} bytes")));
        }
        if nesting(source) > DEEPEST {
            return Err(ParseError::whole(source, format!("its brackets nest deeper than {DEEPEST} levels")));
        }
        if source.chars().filter(|c| "!-+*/%<>=&|?.([{".contains(*c)).count() > OPERATORS {
            return Err(ParseError::whole(source, format!("it has more than {OPERATORS} characters of operators")));
        }
        let program = cel::Program::compile(source).map_err(|errors| ParseError::first(source, &errors))?;
        if has_loop(program.expression()) {
            let mut error = ParseError::whole(source, "it has a loop, such as `all`, `exists` or `map`".into());
            error.hint = Some("parameters are single values: compare them with `==`, `<` or `in [...]`");
            return Err(error);
        }
        let mentions = program.references().variables().into_iter().map(str::to_owned).collect();
        Ok(Self { source: source.into(), program: Arc::new(program), mentions: Arc::new(mentions) })
    }

    /// The expression as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The names of the parameters that it mentions.
    pub fn mentions(&self) -> BTreeSet<String> {
        BTreeSet::clone(&self.mentions)
    }

    /// The functions that it calls and that CEL does not have.
    pub(crate) fn unknown_functions(&self) -> BTreeSet<String> {
        let references = self.program.references();
        let is_name = |function: &&str| function.chars().all(|c| c.is_ascii_alphanumeric());
        references.functions().into_iter().filter(is_name).filter(|name| !exists(name)).map(str::to_owned).collect()
    }

    /// The compiled form, for checks that look inside.
    pub(crate) fn program(&self) -> &cel::Program {
        &self.program
    }

    /// Whether it holds for `params`.
    ///
    /// # Errors
    /// [`EvalError::Missing`] when it needs a parameter without a value, [`EvalError::Undefined`] when
    /// types do not fit, arithmetic overflows, or the result is not a truth value.
    pub fn holds(&self, params: &Params) -> Result<bool, EvalError> {
        self.holds_where(|name| params.get(name).map(cel_value))
    }

    /// Whether it holds where names stand for what `value` says.
    pub(crate) fn holds_where(&self, value: impl Fn(&str) -> Option<cel::Value>) -> Result<bool, EvalError> {
        let mut context = cel::Context::with_env(Arc::clone(&STANDARD));
        for name in self.mentions.iter() {
            if let Some(value) = value(name) {
                context.add_variable_from_value(name, value);
            }
        }
        let undefined = |why: String| EvalError::Undefined { source_text: self.source.to_string(), why };
        match self.program.execute(&context) {
            Ok(cel::Value::Bool(truth)) => Ok(truth),
            Ok(other) => Err(undefined(format!("is not a condition: it gives a {}", other.type_of()))),
            Err(cel::ExecutionError::UndeclaredReference(name)) => Err(EvalError::Missing(name.to_string())),
            Err(error) => Err(undefined(format!("cannot be computed: {}", reason(&error)))),
        }
    }
}

/// Whether CEL has a function called `name`: asked of CEL itself, by calling it with something.
fn exists(name: &str) -> bool {
    [format!("{name}(1)"), format!("'a'.{name}('a')")].iter().any(|call| {
        let outcome =
            cel::Program::compile(call).map(|program| program.execute(&cel::Context::with_env(Arc::clone(&STANDARD))));
        !matches!(
            outcome,
            Ok(Err(cel::ExecutionError::UndeclaredReference(_) | cel::ExecutionError::NotSupportedAsMethod { .. }))
        )
    })
}

/// The standard functions. Building them costs far more than an expression does, so all share one.
static STANDARD: LazyLock<Arc<cel::Env>> = LazyLock::new(|| Arc::new(cel::Env::stdlib()));

/// An error of CEL without the names of its types in Rust.
fn reason(error: &cel::ExecutionError) -> String {
    match error {
        cel::ExecutionError::DivisionByZero(_) | cel::ExecutionError::RemainderByZero(_) => "division by zero".into(),
        cel::ExecutionError::Overflow(..) => "a whole number does not fit into 64 bits".into(),
        cel::ExecutionError::UnsupportedBinaryOperator(_, left, right) => {
            format!("a {} and a {} do not go together", left.type_of(), right.type_of())
        }
        other => other.to_string(),
    }
}

fn cel_value(value: &Value) -> cel::Value {
    match value {
        Value::Bool(b) => cel::Value::Bool(*b),
        Value::Int(i) => cel::Value::Int(*i),
        Value::Float(f) => cel::Value::Float(*f),
        Value::Str(s) => cel::Value::String(Arc::new(s.clone())),
    }
}

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expr({:?})", self.source)
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl Serialize for Expr {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.source)
    }
}

impl<'de> Deserialize<'de> for Expr {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Expr {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Expression".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "description": "A CEL expression over the parameters.", "x-heats": "expression" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params() -> Params {
        [("opt", Value::Str("sgd".into())), ("width", Value::Int(64)), ("lr", Value::Float(0.5))].into_iter().collect()
    }

    #[test]
    fn an_expression_holds_or_not() {
        let holds = |source: &str| Expr::parse(source).expect(source).holds(&params());
        assert_eq!(holds(r#"opt == "sgd""#), Ok(true));
        assert_eq!(holds("width * 2 > 128"), Ok(false));
        assert_eq!(holds(r#"opt in ["adam", "adamw"] || lr < 1.0"#), Ok(true));
    }

    #[test]
    fn what_has_no_truth_value_says_why() {
        let error = |source: &str| Expr::parse(source).expect(source).holds(&params()).expect_err(source);
        assert_eq!(error("momentum > 0.5"), EvalError::Missing("momentum".into()));
        assert!(error("width").to_string().contains("is not a condition"), "{}", error("width"));
        assert!(error("width * opt > 1").to_string().contains("cannot be computed"));
    }

    #[test]
    fn what_does_not_parse_says_so_and_never_panics() {
        for bad in ["", "(", "a ==", "== b", "\"", "a ? b", "\u{0}"] {
            assert!(Expr::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_error_says_where_and_in_few_words() {
        let error = |source: &str| {
            let error = Expr::parse(source).expect_err(source);
            (error.why().to_owned(), error.range().map(|r| (r.start, r.end)))
        };
        assert_eq!(error("opt =="), ("it ends too early".into(), Some((6, 6))));
        assert_eq!(error("a b"), ("`b` is not expected here".into(), Some((2, 3))));
        assert_eq!(error("a = 3"), ("`=` is not an operator".into(), Some((2, 3))));
        assert_eq!(error("a and b"), ("`and` is not an operator".into(), Some((2, 5))));
        assert_eq!(error("a == 'x"), ("a quote is never closed".into(), Some((5, 7))));
        assert_eq!(error(" "), ("it is empty".into(), None));
        assert!(error("1 in [1, 2].map(x, x + 1)").0.contains("has a loop"));
        assert!(error("!{'a': [1].all(x, x > 0)}['a']").0.contains("has a loop"));
        assert!(error(&"(".repeat(5000)).0.contains("longer than"));
        assert!(error(&"(".repeat(500)).0.contains("nest deeper"));
    }

    #[test]
    fn a_deep_expression_is_refused_or_computed_and_never_exhausts_the_stack() {
        for deep in [
            format!("{}{}1{} > 0", "(".repeat(32), "-".repeat(222), ")".repeat(32)),
            format!("a{} > 1", ".a".repeat(254)),
            format!("{}1 > 0", "-".repeat(254)),
            format!("{}true", "!".repeat(256)),
            format!("{}true", "w>1?true:".repeat(128)),
            format!("{}true", "w>1||".repeat(85)),
            format!("{}w > 1", "w+".repeat(255)),
            format!("w{} > 1", "[0]".repeat(255)),
            format!("w{} > 1", ".f()".repeat(127)),
            format!("a{} > 1", ".a".repeat(2_000)),
            format!("{}1 > 0", "-".repeat(4_000)),
            format!("{}true", "!".repeat(4_000)),
            format!("{}true", "w>1?true:".repeat(450)),
            format!("{}true", "w>1||".repeat(800)),
            format!("{}w > 1", "w+".repeat(2_000)),
            format!("w{} > 1", "[0]".repeat(1_300)),
            format!("w{} > 1", ".f()".repeat(1_000)),
            format!("{}1{}", "[".repeat(32), "]".repeat(32)),
        ] {
            if let Ok(expr) = Expr::parse(&deep) {
                let _ = (expr.holds(&params()), expr.mentions(), expr.unknown_functions());
            }
        }
    }

    #[test]
    fn an_expression_names_what_it_mentions() {
        let expr = Expr::parse(r#"opt == "sgd" && width > 3"#).expect("parses");
        assert_eq!(expr.mentions().into_iter().collect::<Vec<_>>(), ["opt", "width"]);
    }
}
