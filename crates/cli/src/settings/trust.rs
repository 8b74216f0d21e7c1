//! What the settings say about who one is to a cluster, and whom one trusts there.

use std::path::PathBuf;

use heats_client::{Credentials, Token};
use heats_tls::{Files, Identity, OwnFiles, Security};

use super::{Key, Setting, Settings};
use crate::exit::Failure;

impl Settings {
    /// How to reach the cluster, and as whom.
    ///
    /// # Errors
    /// Files that cannot be read, settings that do not fit together.
    pub fn credentials(&self) -> Result<Credentials, Failure> {
        let token = match (self.given(Key::Token), self.given(Key::TokenFile)) {
            (Some(token), _) => Some((token.value.clone(), token)),
            (None, Some(file)) => {
                let text = std::fs::read_to_string(&file.value)
                    .map_err(|error| Failure::usage(format!("cannot read the token in {}: {error}", file.value)))?;
                Some((text, file))
            }
            (None, None) => None,
        };
        let token = match token {
            Some((text, setting)) => Some(Token::new(&text).ok_or_else(|| {
                Failure::usage("the token holds letters that no token has")
                    .hint(format!("it comes from {}", setting.origin))
            })?),
            None => None,
        };
        Ok(Credentials { security: self.security()?, token })
    }

    fn security(&self) -> Result<Security, Failure> {
        let own = match (self.given(Key::Certificate), self.given(Key::Private)) {
            (Some(certificate), Some(key)) => {
                Some(OwnFiles { certificate: PathBuf::from(&certificate.value), key: PathBuf::from(&key.value) })
            }
            (Some(_), None) => return Err(Failure::usage("a certificate without its private key: `--key` is missing")),
            (None, Some(_)) => {
                return Err(Failure::usage("a private key without its certificate: `--cert` is missing"));
            }
            (None, None) => None,
        };
        let Some(ca) = self.given(Key::Ca) else {
            return match own {
                Some(_) => Err(Failure::usage("whose coordinators are to be trusted? `--ca` is missing")
                    .hint("`--ca` names the cluster's ca.pem")),
                None => Ok(Security::PlainText),
            };
        };
        // What runs in this folder is not the cluster that the certificates are for.
        if self.runs_in_plain_text {
            return Ok(Security::PlainText);
        }
        let files = Files { ca: PathBuf::from(&ca.value), own, agents_ca: None };
        Identity::load(files).map(Security::Tls).map_err(|error| {
            Failure::usage(error.to_string())
                .hint("`heats config show --origin` says where `ca`, `cert` and `key` come from")
        })
    }

    fn given(&self, key: Key) -> Option<&Setting> {
        Some(self.get(key)).filter(|setting| !setting.value.is_empty())
    }
}

impl Setting {
    /// The value, as it may be shown to whoever looks over one's shoulder.
    pub fn shown(&self) -> String {
        match self.key {
            // What stands before the point names the token, and is no secret.
            Key::Token if !self.value.is_empty() => match self.value.split_once('.') {
                Some((id, _)) => format!("{id}.(hidden)"),
                None => "(hidden)".to_owned(),
            },
            Key::Address
            | Key::Patience
            | Key::Output
            | Key::Color
            | Key::DataDir
            | Key::Ca
            | Key::Certificate
            | Key::Private
            | Key::Token
            | Key::TokenFile
            | Key::Gpus
            | Key::Labels
            | Key::BusyGpus
            | Key::Cgroups
            | Key::ContainerRuntime
            | Key::Checkpoints
            | Key::GangAddress
            | Key::GangPorts => self.value.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Flags, World};

    fn settings(flags: &Flags) -> Settings {
        let nowhere = PathBuf::from("/nonexistent");
        let world = World {
            variables: std::collections::BTreeMap::new(),
            directory: nowhere.clone(),
            home_config: nowhere.clone(),
            system: nowhere,
        };
        Settings::read(flags, &world).expect("reads")
    }

    #[test]
    fn without_an_authority_plain_text_is_spoken_and_a_certificate_alone_is_refused() {
        let plain = settings(&Flags::default()).credentials().expect("nothing is asked for");
        assert!(matches!(plain.security, Security::PlainText));
        let cert = Flags { certificate: Some("c.pem".into()), ..Flags::default() };
        assert!(settings(&cert).credentials().is_err_and(|failure| failure.message.contains("--key")));
        let pair = Flags { private_key: Some("c.key".into()), ..cert };
        assert!(settings(&pair).credentials().is_err_and(|failure| failure.message.contains("--ca")));
    }

    #[test]
    fn a_token_is_shown_by_its_id_alone() {
        for (token, shown) in [("tok_1.secret", "tok_1.(hidden)"), ("secret", "(hidden)"), ("", "")] {
            let settings = settings(&Flags { token: Some(token.into()), ..Flags::default() });
            assert_eq!(settings.get(Key::Token).shown(), shown);
        }
    }
}
