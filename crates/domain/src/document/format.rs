//! Which language a file is written in, by its name.

/// A language that a sweep file can be written in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// YAML 1.2, core schema.
    #[default]
    Yaml,
    /// TOML 1.
    Toml,
    /// JSON.
    Json,
}

impl Format {
    /// The language of a file called `name`: by what follows its last dot, YAML otherwise.
    pub fn of(name: &str) -> Self {
        match name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()).as_deref() {
            Some("toml") => Self::Toml,
            Some("json") => Self::Json,
            Some(_) | None => Self::Yaml,
        }
    }

    /// A hint with its examples, which stand between backticks and are YAML, in this language.
    pub(super) fn speak(self, hint: &str) -> String {
        match self {
            Self::Yaml | Self::Json => hint.to_owned(),
            Self::Toml => {
                let parts = hint.split('`').enumerate();
                let parts: Vec<String> = parts
                    .map(|(i, part)| if i % 2 == 1 { part.replace(": ", " = ") } else { part.to_owned() })
                    .collect();
                parts.join("`")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_speaks_the_language_of_the_file() {
        assert_eq!(Format::Toml.speak("note: write `a: { b: 1 }`"), "note: write `a = { b = 1 }`");
        assert_eq!(Format::Yaml.speak("write `a: 1`"), "write `a: 1`");
    }

    #[test]
    fn the_extension_tells_the_language() {
        assert_eq!(Format::of("a/sweep.toml"), Format::Toml);
        assert_eq!(Format::of("SWEEP.JSON"), Format::Json);
        for name in ["sweep.yaml", "sweep.yml", "sweep", "-", "sweep.toml.bak"] {
            assert_eq!(Format::of(name), Format::Yaml, "{name}");
        }
    }
}
