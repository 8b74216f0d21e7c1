//! What the rules look at: the sweep, and the parts of its file that could not be read.

use crate::document::{Path, Segment};
use crate::spec::ParameterSpec;
use crate::{Space, SweepSpec};

/// What the rules look at.
pub struct Context<'a> {
    /// The sweep.
    pub spec: &'a SweepSpec,
    /// Its space, conditional parameters after those that they depend on; those of a cycle are left out.
    pub space: Space,
    /// The parts that could not be read.
    absent: &'a [Path],
    names: Vec<&'a str>,
}

impl<'a> Context<'a> {
    /// Looks at `spec`.
    pub fn new(spec: &'a SweepSpec, absent: &'a [Path]) -> Self {
        Self { spec, space: spec.space(), absent, names: names(spec, absent) }
    }

    /// Whether `path` and everything below it is as the file has it.
    pub fn is_whole(&self, path: &str) -> bool {
        let path = Path::from(path);
        !self.absent.iter().any(|absent| absent.is_within(&path) || path.is_within(absent))
    }

    /// Whether what `section` lacks is not in the file under a wrong name: in the section, or as a section.
    pub fn lacks(&self, section: &str) -> bool {
        self.is_whole(section) && !self.absent.iter().any(|path| path.segments().len() == 1)
    }

    /// The names of all parameters, those included whose domain could not be read.
    pub fn names(&self) -> &[&'a str] {
        &self.names
    }

    /// The parameters as the file has them.
    pub fn parameters(&self) -> impl Iterator<Item = (&'a str, &'a ParameterSpec)> {
        self.spec.space.parameters.iter().map(|(name, spec)| (name.as_str(), spec))
    }

    /// Where the parameter `name` stands.
    pub fn at(name: &str) -> Path {
        Path::root().key("space").key(name)
    }
}

fn names<'a>(spec: &'a SweepSpec, absent: &'a [Path]) -> Vec<&'a str> {
    let mut names: Vec<&str> = spec.space.parameters.iter().map(|(name, _)| name.as_str()).collect();
    let unread = absent.iter().filter_map(|path| match path.segments() {
        [Segment::Key(section), Segment::Key(name), ..] if section == "space" => Some(name.as_str()),
        _ => None,
    });
    for name in unread {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
