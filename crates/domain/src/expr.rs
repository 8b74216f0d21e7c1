//! Conditions and constraints over parameters, in CEL: `opt == "sgd"`, `width * batch <= 65536`.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Params, Value};

/// A compiled expression that keeps its source. Two expressions are equal when their sources are.
#[derive(Clone)]
pub struct Expr {
    source: Arc<str>,
    program: Arc<cel::Program>,
}

/// Why a text is not an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{source_text}` is not a CEL expression: {why}")]
pub struct ParseError {
    source_text: String,
    why: String,
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
    pub fn parse(source: &str) -> Result<Self, ParseError> {
        let program = cel::Program::compile(source).map_err(|errors| ParseError {
            source_text: source.to_owned(),
            why: errors.errors.first().map_or_else(|| errors.to_string(), |e| e.msg.clone()),
        })?;
        Ok(Self { source: source.into(), program: Arc::new(program) })
    }

    /// The expression as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The names of the parameters that it mentions.
    pub fn mentions(&self) -> BTreeSet<String> {
        self.program.references().variables().into_iter().map(str::to_owned).collect()
    }

    /// Whether it holds for `params`.
    ///
    /// # Errors
    /// [`EvalError::Missing`] when it needs a parameter without a value, [`EvalError::Undefined`] when
    /// types do not fit, arithmetic overflows, or the result is not a truth value.
    pub fn holds(&self, params: &Params) -> Result<bool, EvalError> {
        let mut context = cel::Context::default();
        for (name, value) in params.iter() {
            context.add_variable_from_value(name, cel_value(value));
        }
        let undefined = |why: String| EvalError::Undefined { source_text: self.source.to_string(), why };
        match self.program.execute(&context) {
            Ok(cel::Value::Bool(truth)) => Ok(truth),
            Ok(other) => Err(undefined(format!("is not a condition: it gives a {}", other.type_of()))),
            Err(cel::ExecutionError::UndeclaredReference(name)) => Err(EvalError::Missing(name.to_string())),
            Err(error) => Err(undefined(format!("cannot be computed: {error}"))),
        }
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
        schemars::json_schema!({ "type": "string", "description": "A CEL expression over the parameters." })
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
    fn an_expression_names_what_it_mentions() {
        let expr = Expr::parse(r#"opt == "sgd" && width > 3"#).expect("parses");
        assert_eq!(expr.mentions().into_iter().collect::<Vec<_>>(), ["opt", "width"]);
    }
}
