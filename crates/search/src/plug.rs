//! How a plug reads its parameters from the sweep file, and how it complains about them.
//!
//! Knows no algorithm: see `searchers` and `stoppers`.

use std::fmt;

use heats_domain::spec::PlugParams;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

/// What a complaint is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum About {
    /// The algorithm, or several of its parameters together.
    Algorithm,
    /// One parameter of the algorithm.
    Param(String),
    /// One parameter of the search space.
    Space(String),
}

/// One thing that is wrong with a plug's name or parameters, or with the space that it is given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Complaint {
    /// What it is about.
    pub about: About,
    /// What is wrong, as a fragment.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Complaint {
    /// About the algorithm's parameter `param`.
    pub fn about(param: &str, message: impl Into<String>) -> Self {
        Self { about: About::Param(param.to_owned()), message: message.into(), hint: None }
    }

    /// About the parameter `name` of the search space.
    pub fn about_space(name: &str, message: impl Into<String>) -> Self {
        Self { about: About::Space(name.to_owned()), message: message.into(), hint: None }
    }

    /// About the algorithm as a whole.
    pub fn overall(message: impl Into<String>) -> Self {
        Self { about: About::Algorithm, message: message.into(), hint: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

/// Why a plug could not be built: everything that is wrong with it, at once.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("cannot use `{algorithm}`: {}", self.list())]
pub struct PlugError {
    /// The algorithm's name as it was given.
    pub algorithm: String,
    /// What is wrong; never empty.
    pub complaints: Vec<Complaint>,
}

impl PlugError {
    fn list(&self) -> String {
        self.complaints.iter().map(Complaint::to_string).collect::<Vec<_>>().join("; ")
    }

    /// No plug of this name is registered under `kind` (`searcher`, `stopper`).
    pub(crate) fn unknown_algorithm(kind: &str, algorithm: &str, known: &[&str]) -> Self {
        let hint = did_you_mean(algorithm, known);
        let complaint = Complaint::overall(format!("there is no {kind} called `{algorithm}`")).hint(hint);
        Self { algorithm: algorithm.to_owned(), complaints: vec![complaint] }
    }
}

/// A plug that was made, or everything that is wrong with its parameters.
pub type Built<T> = Result<Box<T>, Vec<Complaint>>;

/// The parameters as the plug's own type. Every field of `T` has a default, so each can be read alone.
///
/// # Errors
/// Every parameter that is unknown or of the wrong type.
pub(crate) fn read<T: DeserializeOwned + JsonSchema>(params: &PlugParams) -> Result<T, Vec<Complaint>> {
    let schema = schemars::schema_for!(T);
    let known: Vec<&str> = schema
        .get("properties")
        .and_then(|properties| properties.as_object())
        .map(|properties| properties.keys().map(String::as_str).collect())
        .unwrap_or_default();
    let mut complaints = Vec::new();
    for (name, value) in params {
        if !known.contains(&name.as_str()) {
            let hint = did_you_mean(name, &known);
            complaints.push(Complaint::about(name, format!("there is no parameter `{name}` here")).hint(hint));
            continue;
        }
        let alone = serde_json::Map::from_iter([(name.clone(), value.clone())]);
        if let Err(error) = serde_json::from_value::<T>(alone.into()) {
            complaints.push(Complaint::about(name, format!("`{name}` cannot be read: {error}")));
        }
    }
    if !complaints.is_empty() {
        return Err(complaints);
    }
    let all = serde_json::Map::from_iter(params.iter().map(|(name, value)| (name.clone(), value.clone())));
    serde_json::from_value(all.into()).map_err(|error| vec![Complaint::overall(error.to_string())])
}

/// The known name that is nearest to `name`, or all of them where none is near.
fn did_you_mean(name: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(&name.to_lowercase(), candidate), *candidate))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((likeness, candidate)) if likeness > 0.75 => format!("did you mean `{candidate}`?"),
        Some(_) => {
            format!("one of {}", known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))
        }
        None => "it takes no parameters".to_owned(),
    }
}

/// For plugs without parameters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoParams {}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize, JsonSchema)]
    #[serde(default, deny_unknown_fields)]
    struct Some2 {
        eta: f64,
        brackets: u32,
    }

    impl Default for Some2 {
        fn default() -> Self {
            Self { eta: 3.0, brackets: 1 }
        }
    }

    fn params(json: serde_json::Value) -> PlugParams {
        serde_json::from_value(json).expect("a map")
    }

    #[test]
    fn every_parameter_that_is_wrong_is_named_at_once() {
        let complaints = read::<Some2>(&params(serde_json::json!({"bracket": 2, "eta": "x", "brackets": -1, "q": 1})))
            .expect_err("is refused");
        let about: Vec<About> = complaints.iter().map(|c| c.about.clone()).collect();
        assert_eq!(about, ["bracket", "brackets", "eta", "q"].map(|name| About::Param(name.to_owned())));
        assert_eq!(complaints[0].hint.as_deref(), Some("did you mean `brackets`?"));
        assert_eq!(complaints[3].hint.as_deref(), Some("one of `eta`, `brackets`"));
    }

    #[test]
    fn what_is_not_given_has_its_default() {
        let read: Some2 = read(&params(serde_json::json!({"eta": 4}))).expect("reads");
        assert_eq!((read.eta, read.brackets), (4.0, 1));
    }
}
