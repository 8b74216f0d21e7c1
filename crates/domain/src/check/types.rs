//! The types of expressions, as far as they can be known without computing: CEL does not mix whole and real
//! numbers in arithmetic, and what is of different types is never equal. Only finds what is surely wrong.

use std::ops::Range;

use cel::IdedExpr;
use cel::common::ast::{CallExpr, Expr as Ast, LiteralValue, operators};

use crate::document::{Fault, Path, did_you_mean};
use crate::{Domain, Expr, Space, Value};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Bool,
    Int,
    Float,
    Str,
}

impl Type {
    const fn name(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Int => "a whole number",
            Self::Float => "a real number",
            Self::Str => "text",
        }
    }

    const fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Float)
    }

    const fn of(value: &Value) -> Self {
        match value {
            Value::Bool(_) => Self::Bool,
            Value::Int(_) => Self::Int,
            Value::Float(_) => Self::Float,
            Value::Str(_) => Self::Str,
        }
    }
}

/// What the names of an expression stand for.
#[derive(Clone, Copy)]
pub enum Names<'a> {
    /// Parameters of a space.
    Parameters(&'a Space),
    /// What is known of a machine, see [`crate::Machine`].
    Machine,
}

/// What is surely wrong with `expr`, which stands at `at`, where its names are `names`.
pub fn check(expr: &Expr, names: Names<'_>, at: &Path) -> Vec<Fault> {
    let mut walk = Walk { expr, names, at, faults: Vec::new() };
    let kind = walk.infer(expr.program().expression());
    if let Some(kind) = kind.filter(|kind| *kind != Type::Bool && walk.faults.is_empty()) {
        let message = format!("`{}` is {}, not a condition", expr.source(), kind.name());
        walk.faults.push(Fault::new(at.clone(), message).hint("compare it with something: `... <= 100`"));
    }
    walk.faults
}

struct Walk<'a> {
    expr: &'a Expr,
    names: Names<'a>,
    at: &'a Path,
    faults: Vec<Fault>,
}

impl Walk<'_> {
    /// The type of `node`, where it is certain; faults on the way are kept.
    fn infer(&mut self, node: &IdedExpr) -> Option<Type> {
        match &node.expr {
            Ast::Literal(literal) => literal_type(literal),
            Ast::Ident(name) => self.named(name),
            Ast::Select(select) if select.test => Some(Type::Bool),
            Ast::Select(select) => match (self.names, &select.operand.expr, select.field.as_str()) {
                (Names::Machine, Ast::Ident(gpu), "memory") if gpu == "gpu" => Some(Type::Int),
                (Names::Machine, Ast::Ident(_), _) => Some(Type::Str),
                (Names::Machine | Names::Parameters(_), ..) => None,
            },
            Ast::Call(call) => self.call(call, node),
            Ast::List(list) => {
                list.elements.iter().for_each(|element| {
                    self.infer(element);
                });
                None
            }
            Ast::Unspecified | Ast::Comprehension(_) | Ast::Map(_) | Ast::Struct(_) => None,
        }
    }

    fn named(&self, name: &str) -> Option<Type> {
        let space = match self.names {
            Names::Parameters(space) => space,
            Names::Machine => return ["cpus", "memory", "disk"].contains(&name).then_some(Type::Int),
        };
        match &space.get(name)?.domain {
            Domain::Float { .. } => Some(Type::Float),
            Domain::Int { .. } => Some(Type::Int),
            Domain::Const(value) => Some(Type::of(value)),
            Domain::Choice(values) => {
                let first = Type::of(values.first()?);
                values.iter().all(|value| Type::of(value) == first).then_some(first)
            }
        }
    }

    fn call(&mut self, call: &CallExpr, node: &IdedExpr) -> Option<Type> {
        let types: Vec<Option<Type>> = call.args.iter().map(|argument| self.infer(argument)).collect();
        if let Some(target) = &call.target {
            self.infer(target);
        }
        match (call.func_name.as_str(), call.args.as_slice(), types.as_slice()) {
            (
                operators::ADD | operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE | operators::MODULO,
                [left, right],
                [Some(a), Some(b)],
            ) => self.arithmetic(call, node, (left, *a), (right, *b)),
            (
                operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS,
                [left, right],
                [Some(a), Some(b)],
            ) => {
                if a != b && !(a.is_number() && b.is_number()) {
                    self.incomparable(node, (left, *a), (right, *b), "cannot be compared");
                }
                Some(Type::Bool)
            }
            (operators::EQUALS | operators::NOT_EQUALS, [left, right], [Some(a), Some(b)]) => {
                if a != b && !(a.is_number() && b.is_number()) {
                    self.incomparable(node, (left, *a), (right, *b), "are never equal");
                } else {
                    self.never(left, right);
                    self.never(right, left);
                }
                Some(Type::Bool)
            }
            (operators::IN, [left, right], _) => {
                if let Ast::List(list) = &right.expr {
                    list.elements.iter().for_each(|element| self.never(left, element));
                }
                Some(Type::Bool)
            }
            (operators::LOGICAL_AND | operators::LOGICAL_OR | operators::LOGICAL_NOT, arguments, types) => {
                for (argument, kind) in arguments.iter().zip(types) {
                    if let Some(kind) = kind.filter(|kind| *kind != Type::Bool) {
                        let message = format!("{} is {}, not a condition", self.shown(argument), kind.name());
                        self.fault(argument, message, "compare it with something: `... <= 100`".into());
                    }
                }
                Some(Type::Bool)
            }
            (
                operators::EQUALS
                | operators::NOT_EQUALS
                | operators::LESS
                | operators::LESS_EQUALS
                | operators::GREATER
                | operators::GREATER_EQUALS,
                ..,
            ) => Some(Type::Bool),
            (operators::NEGATE, [_], [kind]) => *kind,
            ("double", ..) => Some(Type::Float),
            ("int" | "size", ..) => Some(Type::Int),
            ("string", ..) => Some(Type::Str),
            _ => None,
        }
    }

    fn arithmetic(
        &mut self,
        call: &CallExpr,
        node: &IdedExpr,
        (left, a): (&IdedExpr, Type),
        (right, b): (&IdedExpr, Type),
    ) -> Option<Type> {
        let sign = call.func_name.trim_matches('_');
        match (a, b) {
            (Type::Int, Type::Float) | (Type::Float, Type::Int) => {
                let (whole, real) = if a == Type::Int { (left, right) } else { (right, left) };
                let message = format!(
                    "{} is a whole number and {} a real one, and CEL does not mix them in `{sign}`",
                    self.shown(whole),
                    self.shown(real)
                );
                let hint = match &whole.expr {
                    Ast::Ident(name) => format!("write `double({name})`"),
                    Ast::Literal(LiteralValue::Int(number)) => format!("write `{}.0`", number.inner()),
                    _ => "put `double(...)` around the whole number".to_owned(),
                };
                self.fault(whole, message, hint);
                Some(Type::Float)
            }
            (Type::Str, Type::Str) if call.func_name == operators::ADD => Some(Type::Str),
            (Type::Float, Type::Float) if call.func_name == operators::MODULO => {
                self.fault(
                    node,
                    "CEL has `%` for whole numbers only".into(),
                    "write `int(...)` around both sides".into(),
                );
                None
            }
            (a, b) if a == b && a.is_number() => Some(a),
            (a, b) => {
                let message = format!(
                    "{} is {} and {} is {}: `{sign}` is not defined for them",
                    self.shown(left),
                    a.name(),
                    self.shown(right),
                    b.name()
                );
                self.fault(node, message, "compute with numbers, and compare texts with `==`".into());
                None
            }
        }
    }

    fn incomparable(
        &mut self,
        node: &IdedExpr,
        (left, a): (&IdedExpr, Type),
        (right, b): (&IdedExpr, Type),
        what: &str,
    ) {
        let message =
            format!("{} is {} and {} is {}: they {what}", self.shown(left), a.name(), self.shown(right), b.name());
        let hint = match (&left.expr, &right.expr, a, b) {
            (Ast::Ident(_), Ast::Literal(_), Type::Str, _) => {
                format!("write the text in quotes: \"{}\"", self.shown(right).trim_matches('`'))
            }
            _ => "compare values of one type".into(),
        };
        self.fault(node, message, hint);
    }

    /// A parameter that is compared with a text that it never is.
    fn never(&mut self, parameter: &IdedExpr, literal: &IdedExpr) {
        let (Ast::Ident(name), Ast::Literal(LiteralValue::String(text))) = (&parameter.expr, &literal.expr) else {
            return;
        };
        let Names::Parameters(space) = self.names else { return };
        let Some(parameter) = space.get(name) else { return };
        let values = match &parameter.domain {
            Domain::Choice(values) => values.as_slice(),
            Domain::Const(value) => std::slice::from_ref(value),
            Domain::Float { .. } | Domain::Int { .. } => return,
        };
        let texts: Vec<&str> = values
            .iter()
            .filter_map(|value| match value {
                Value::Str(text) => Some(text.as_str()),
                Value::Bool(_) | Value::Int(_) | Value::Float(_) => None,
            })
            .collect();
        if !texts.contains(&text.inner()) {
            let message = format!("`{name}` is never \"{}\"", text.inner());
            let hint = did_you_mean(text.inner(), texts.iter().copied());
            let fault = self.place(literal, message).maybe_hint(hint);
            self.faults.push(fault);
        }
    }

    fn fault(&mut self, node: &IdedExpr, message: String, hint: String) {
        let fault = self.place(node, message).hint(hint);
        self.faults.push(fault);
    }

    fn place(&self, node: &IdedExpr, message: String) -> Fault {
        let fault = Fault::new(self.at.clone(), message);
        match self.range(node) {
            Some(range) => fault.within(range),
            None => fault,
        }
    }

    /// The token of `node` in the source. The parser counts characters, which are bytes in ASCII only.
    fn range(&self, node: &IdedExpr) -> Option<Range<usize>> {
        let (start, last) = self.expr.program().source_info().offset_for(node.id)?;
        let range = start as usize..last as usize + 1;
        (self.expr.source().is_ascii() && range.end <= self.expr.source().len() && !range.is_empty()).then_some(range)
    }

    fn shown(&self, node: &IdedExpr) -> String {
        match &node.expr {
            Ast::Ident(name) => format!("`{name}`"),
            Ast::Select(select) => match &select.operand.expr {
                Ast::Ident(name) => format!("`{name}.{}`", select.field),
                _ => "one side".into(),
            },
            Ast::Literal(LiteralValue::Int(number)) => format!("`{}`", number.inner()),
            Ast::Literal(LiteralValue::Double(number)) => format!("`{:?}`", number.inner()),
            Ast::Literal(LiteralValue::String(text)) => format!("\"{}\"", text.inner()),
            Ast::Literal(LiteralValue::Boolean(truth)) => format!("`{}`", truth.inner()),
            Ast::Call(call) if !call.func_name.contains('_') => format!("`{}(...)`", call.func_name),
            Ast::Call(call) => format!("the result of `{}`", call.func_name.trim_matches('_')),
            Ast::Literal(_)
            | Ast::Unspecified
            | Ast::Comprehension(_)
            | Ast::List(_)
            | Ast::Map(_)
            | Ast::Struct(_) => "one side".into(),
        }
    }
}

const fn literal_type(literal: &LiteralValue) -> Option<Type> {
    match literal {
        LiteralValue::Boolean(_) => Some(Type::Bool),
        LiteralValue::Double(_) => Some(Type::Float),
        LiteralValue::Int(_) => Some(Type::Int),
        LiteralValue::String(_) => Some(Type::Str),
        LiteralValue::Bytes(_) | LiteralValue::Null | LiteralValue::UInt(_) => None,
    }
}
