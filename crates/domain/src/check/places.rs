//! Places in the file system, as far as they can be judged without looking: they are not empty.

use super::Context;
use crate::document::{Fault, Path};
use crate::spec::Env;

/// Empty places.
pub fn check(context: &Context<'_>) -> Vec<Fault> {
    let spec = context.spec;
    let code = spec.code.as_ref().and_then(|code| code.path.as_deref());
    let env = spec.env.as_ref().map(|env| match env {
        Env::Python(path) => ("env.python", path.as_str()),
        Env::Prefix(path) => ("env.prefix", path.as_str()),
        Env::Container(image) => ("env.container", image.as_str()),
    });
    let data =
        spec.data.iter().enumerate().map(|(i, data)| (Path::from("data").index(i).key("path"), data.path.as_str()));
    let named = code.map(|path| ("code.path", path)).into_iter().chain(env).map(|(at, path)| (Path::from(at), path));
    let revision =
        spec.code.as_ref().and_then(|code| code.git.as_deref()).filter(|revision| revision.trim().is_empty());
    let revision = revision.map(|_| {
        Fault::new("code.git", "`code.git` is empty")
            .hint("name a branch, a tag or a commit; without `git` the folder is sent as it is")
    });
    named
        .chain(data)
        .filter(|(_, path)| path.trim().is_empty())
        .map(|(at, _)| {
            Fault::new(at.clone(), format!("`{at}` is empty")).hint("write a path relative to the sweep file")
        })
        .chain(revision)
        .collect()
}
