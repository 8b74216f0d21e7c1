//! What a parameter is drawn from, as Optuna writes it: `{"name": "FloatDistribution", "attributes": {..}}`.
//!
//! The text is what is kept. It is read to refuse what Optuna's own constructors refuse, since every program that opens the
//! study has to be able to read it, and to show values to people.

use heats_domain::Value;

use super::json::Json;

/// A distribution.
#[derive(Clone, PartialEq, Debug)]
pub enum Distribution<'a> {
    /// A range of numbers.
    Float(Range),
    /// A range of whole numbers.
    Int(Range),
    /// Choices, each of them `null`, a boolean, a number or a string.
    Categorical(Vec<Json<'a>>),
}

/// A range, with both of its ends.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Range {
    /// The least.
    pub low: f64,
    /// The most.
    pub high: f64,
    /// What lies between two neighbours; every number counts without.
    pub step: Option<f64>,
    /// It is drawn from by its logarithm.
    pub log: bool,
}

impl<'a> Distribution<'a> {
    /// Reads a distribution.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &'a str) -> Result<Self, String> {
        let json = Json::read(text).map_err(|error| format!("a distribution cannot be read: {error}"))?;
        let Some(Json::Text(name)) = json.get("name") else {
            return Err("a distribution has no name".to_owned());
        };
        let Some(Json::Map(attributes)) = json.get("attributes") else {
            return Err(format!("{name} has no attributes"));
        };
        match *name {
            "FloatDistribution" => {
                let range = range(name, attributes)?;
                if range.log && (range.low <= 0.0 || range.step.is_some()) {
                    return Err(format!("{name} with a logarithm begins above 0 and has no step"));
                }
                Ok(Self::Float(range))
            }
            "IntDistribution" => {
                let range = range(name, attributes)?;
                let whole =
                    [Some(range.low), Some(range.high), range.step].into_iter().flatten().all(|n| n.fract() == 0.0);
                if !whole {
                    return Err(format!("{name} holds whole numbers"));
                }
                if range.log && (range.low < 1.0 || range.step.is_some_and(|step| step != 1.0)) {
                    return Err(format!("{name} with a logarithm begins at 1 or above and has a step of 1"));
                }
                Ok(Self::Int(range))
            }
            "CategoricalDistribution" => {
                let [("choices", Json::List(choices))] = attributes.as_slice() else {
                    return Err(format!("{name} has choices and nothing else"));
                };
                if choices.is_empty() {
                    return Err(format!("{name} has no choice"));
                }
                if choices.iter().any(|choice| matches!(choice, Json::List(_) | Json::Map(_))) {
                    return Err(format!("a choice of {name} is null, a boolean, a number or a string"));
                }
                Ok(Self::Categorical(choices.clone()))
            }
            other => Err(format!("there is no distribution `{other}`")),
        }
    }

    /// Why `value`, as Optuna keeps it, cannot be one of a parameter that is drawn from this.
    ///
    /// As in Optuna, a number beyond the range is none of its storage's concern.
    pub fn refuses(&self, value: f64) -> Option<String> {
        match self {
            Self::Float(_) | Self::Int(_) if value.is_finite() => None,
            Self::Float(_) | Self::Int(_) => Some(format!("{value} is not a parameter's value")),
            Self::Categorical(choices) if value > -1.0 && value < choices.len() as f64 => None,
            Self::Categorical(choices) => Some(format!("{value} is not the place of one of {} choices", choices.len())),
        }
    }

    /// Whether a parameter may be drawn from this in one trial and from `other` in another, by Optuna's rules.
    pub fn goes_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float(a), Self::Float(b)) | (Self::Int(a), Self::Int(b)) => a.log == b.log,
            (Self::Categorical(a), Self::Categorical(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.is_like(b))
            }
            (Self::Float(_) | Self::Int(_) | Self::Categorical(_), _) => false,
        }
    }

    /// A value as people know it.
    pub fn shown(&self, value: f64) -> Value {
        match self {
            Self::Float(_) => Value::Float(value),
            Self::Int(_) => Value::Int(value as i64),
            Self::Categorical(choices) => match choices.get(value as usize) {
                Some(Json::Bool(choice)) => Value::Bool(*choice),
                Some(Json::Number(choice)) if choice.fract() == 0.0 && choice.abs() < 2f64.powi(53) => {
                    Value::Int(*choice as i64)
                }
                Some(Json::Number(choice)) => Value::Float(*choice),
                // An escape that only Python understands is shown as it is written.
                Some(Json::Text(choice)) => {
                    let text = serde_json::from_str(&format!("\"{choice}\""));
                    Value::Str(text.unwrap_or_else(|_| (*choice).to_owned()))
                }
                Some(Json::Null | Json::List(_) | Json::Map(_)) | None => Value::Str("None".to_owned()),
            },
        }
    }
}

fn range(name: &str, attributes: &[(&str, Json<'_>)]) -> Result<Range, String> {
    let (mut low, mut high, mut step, mut log) = (None, None, None, false);
    for (attribute, value) in attributes {
        match (*attribute, value) {
            ("low", Json::Number(number)) => low = Some(*number),
            ("high", Json::Number(number)) => high = Some(*number),
            ("step", Json::Number(number)) => step = Some(*number),
            ("step", Json::Null) if name == "FloatDistribution" => step = None,
            ("log", Json::Bool(bool)) => log = *bool,
            (other, _) => return Err(format!("{name} does not have such a `{other}`")),
        }
    }
    let (Some(low), Some(high)) = (low, high) else {
        return Err(format!("{name} has no `low` or no `high`"));
    };
    if !low.is_finite() || !high.is_finite() || low > high {
        return Err(format!("{name} goes from {low} to {high}"));
    }
    if step.is_some_and(|step| !step.is_finite() || step <= 0.0) {
        return Err(format!("the step of {name} is not above 0"));
    }
    Ok(Range { low, high, step, log })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOAT: &str =
        r#"{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.1, "log": true}}"#;
    const INT: &str = r#"{"name": "IntDistribution", "attributes": {"log": false, "step": 2, "low": 1, "high": 9}}"#;
    const CHOICES: &str =
        r#"{"name": "CategoricalDistribution", "attributes": {"choices": ["adam", null, 0.5, true, 3, NaN]}}"#;

    #[test]
    fn what_optuna_writes_is_read_and_shown() {
        let float = Distribution::read(FLOAT).expect("is read");
        assert_eq!(float, Distribution::Float(Range { low: 1e-5, high: 0.1, step: None, log: true }));
        assert_eq!(float.shown(0.05), Value::Float(0.05));
        assert_eq!(Distribution::read(INT).expect("is read").shown(3.0), Value::Int(3));
        let choices = Distribution::read(CHOICES).expect("is read");
        let shown: Vec<Value> = (0..5).map(|place| choices.shown(f64::from(place))).collect();
        let text = |text: &str| Value::Str(text.to_owned());
        assert_eq!(shown, [text("adam"), text("None"), Value::Float(0.5), Value::Bool(true), Value::Int(3)]);
        assert!(
            choices.refuses(5.0).is_none() && choices.refuses(6.0).is_some() && choices.refuses(f64::NAN).is_some()
        );
    }

    #[test]
    fn what_its_constructors_refuse_is_refused() {
        let float = |attributes: &str| format!(r#"{{"name": "FloatDistribution", "attributes": {{{attributes}}}}}"#);
        let int = |attributes: &str| format!(r#"{{"name": "IntDistribution", "attributes": {{{attributes}}}}}"#);
        for text in [
            "{}".to_owned(),
            r#"{"name": "NormalDistribution", "attributes": {}}"#.to_owned(),
            r#"{"name": "CategoricalDistribution", "attributes": {"choices": []}}"#.to_owned(),
            r#"{"name": "CategoricalDistribution", "attributes": {"choices": [[1]]}}"#.to_owned(),
            r#"{"name": "CategoricalDistribution", "attributes": {"choices": [1], "more": 1}}"#.to_owned(),
            float(r#""low": 0"#),
            float(r#""low": 1, "high": 0"#),
            float(r#""low": 0, "high": 1, "log": true"#),
            float(r#""low": 0, "high": 1, "step": 0"#),
            float(r#""low": 1, "high": 2, "step": 0.1, "log": true"#),
            float(r#""low": 0, "high": Infinity"#),
            float(r#""low": "0", "high": 1"#),
            float(r#""low": 0, "high": 1, "mean": 0"#),
            int(r#""low": 0.5, "high": 1"#),
            int(r#""low": 0, "high": 9, "log": true"#),
            int(r#""low": 0, "high": 9, "step": null"#),
        ] {
            assert!(Distribution::read(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn one_parameter_stays_what_it_is() {
        let read = |text| Distribution::read(text).expect("is read");
        let wider = FLOAT.replace("0.1", "10");
        assert!(read(FLOAT).goes_with(&read(&wider)), "a range may move");
        let linear = FLOAT.replace("true", "false");
        assert!(!read(FLOAT).goes_with(&read(&linear)) && !read(FLOAT).goes_with(&read(INT)));
        let other = CHOICES.replace("adam", "sgd");
        assert!(read(CHOICES).goes_with(&read(CHOICES)) && !read(CHOICES).goes_with(&read(&other)));
    }
}
