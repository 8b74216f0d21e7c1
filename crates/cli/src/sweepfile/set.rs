//! `--set budget.trials=50`: one value of the file's tree, read as YAML reads it.

use heats_domain::document::{self, Format, Path, Segment};
use serde_json::{Map, Value};

use crate::exit::Failure;

/// Changes `tree` as `change` (`KEY=VALUE`) says. Mappings on the way that are not there are made.
pub(super) fn apply(tree: &mut Value, change: &str) -> Result<(), Failure> {
    let usage = |why: &str| {
        Failure::usage(format!("`--set {change}`: {why}"))
            .hint("write KEY=VALUE, for example budget.trials=50 or space.lr.float[1]=0.1")
    };
    let (key, text) = change.split_once('=').ok_or_else(|| usage("there is no `=`"))?;
    let path = Path::from(key.trim());
    if path == Path::root() {
        return Err(usage("the key is empty"));
    }
    let mut place = tree;
    for segment in path.segments() {
        place = match segment {
            Segment::Key(key) => {
                if place.is_null() {
                    *place = Value::Object(Map::new());
                }
                let map = place
                    .as_object_mut()
                    .ok_or_else(|| usage(&format!("`{key}` is within something that is not a mapping")))?;
                map.entry(key.as_str()).or_insert(Value::Null)
            }
            Segment::Index(index) => {
                let list = place.as_array_mut().ok_or_else(|| usage("there is no list to number"))?;
                let length = list.len();
                list.get_mut(*index).ok_or_else(|| usage(&format!("the list has {length} elements, counted from 0")))?
            }
        };
    }
    *place = value(text);
    Ok(())
}

/// A value as the YAML file would read it: `50` is a number, `[1, 2]` a list, `adamw` a text.
pub(super) fn value(text: &str) -> Value {
    let document = document::open(format!("value: {text}\n").as_bytes(), Format::Yaml);
    match document.document().root().to_json() {
        Value::Object(mut map) if map.len() == 1 => map.remove("value").unwrap_or(Value::Null),
        // What YAML cannot read in one line is meant as it stands.
        _ => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(mut tree: Value, change: &str) -> Value {
        apply(&mut tree, change).expect(change);
        tree
    }

    #[test]
    fn one_value_changes_and_keeps_the_type_that_yaml_gives_it() {
        let tree = json!({"budget": {"trials": 60}, "space": {"lr": {"float": [0.1, 1.0]}}});
        assert_eq!(set(tree.clone(), "budget.trials=50")["budget"]["trials"], json!(50));
        assert_eq!(set(tree.clone(), "space.lr.float[1]=1e-1")["space"]["lr"]["float"], json!([0.1, 0.1]));
        assert_eq!(set(tree.clone(), "search.algorithm=random")["search"], json!({"algorithm": "random"}));
        assert_eq!(set(tree.clone(), "space.opt={choice: [sgd, adamw]}")["space"]["opt"]["choice"][1], json!("adamw"));
        assert_eq!(set(tree.clone(), "run.env.A=a=b")["run"]["env"]["A"], json!("a=b"));
        assert_eq!(set(tree, "name=a: b")["name"], json!("a: b"));
    }

    #[test]
    fn what_cannot_be_set_is_refused() {
        let mut tree = json!({"command": ["a"], "version": 1});
        for bad in ["budget.trials", "=5", "command[3]=x", "version.x=1", "version[0]=1"] {
            assert_eq!(apply(&mut tree, bad).expect_err(bad).exit, crate::exit::Exit::Usage);
        }
    }
}
