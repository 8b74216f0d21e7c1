//! Why two sides do not trust each other, found in whatever error it is wrapped in: trying again does not help then.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError};

use crate::name::Who;

/// Why one side does not trust the other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// It was addressed in plain text.
    #[error("it speaks TLS, and was addressed in plain text")]
    SpeaksTls,
    /// It was addressed over TLS.
    #[error("it speaks plain text, and was addressed over TLS")]
    SpeaksPlainText,
    /// It is somebody else than was asked for.
    #[error("it is {0}, which is not who was asked for")]
    Other(Who),
    /// It is of another cluster, or names nobody.
    #[error("its certificate is not that of a coordinator of this cluster")]
    Stranger,
    /// Its certificate is not signed by the authority that is known here.
    #[error("its certificate is not signed by the certificate authority that is known here")]
    UnknownAuthority,
    /// Its certificate is too old, or by the clock here not good yet.
    #[error("its certificate has expired, or is not good yet by the clock here")]
    Expired,
    /// Its certificate is for another host.
    #[error("its certificate is for another host name or address")]
    OtherHost,
    /// It does not take the certificate that was shown to it.
    #[error("it refuses the certificate that was shown to it: {0}")]
    Refused(String),
    /// Something else about TLS.
    #[error("no TLS connection: {0}")]
    Tls(String),
}

impl Distrust {
    /// What to do about it, for people.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::SpeaksTls => {
                "name the cluster's certificate authority: `--ca FILE` or HEATS_CA, and `--cert` with `--key`, or a token"
            }
            Self::SpeaksPlainText => {
                "leave `--ca` out (HEATS_CA, or `ca` in a config.toml) for a coordinator on this machine that speaks plain text"
            }
            Self::Other(_) => "the address leads to another one: look at where each coordinator listens",
            Self::Stranger | Self::UnknownAuthority => {
                "`--ca` is to name the ca.pem that `heats tls init` made for this very cluster"
            }
            Self::Expired => {
                "make it a new certificate with `heats tls issue --renew`, and look at the clocks of both machines"
            }
            Self::OtherHost => {
                "use a name or an address that the certificate was made for; `heats tls issue --renew` makes one for others"
            }
            Self::Refused(_) => {
                "it has expired, or another cluster's authority made it: `heats tls issue` makes one, `heats agent start --join` gets an agent one"
            }
            Self::Tls(_) => "look at the coordinator's log",
        }
    }
}

impl From<Distrust> for io::Error {
    fn from(fault: Distrust) -> Self {
        Self::new(io::ErrorKind::InvalidData, fault)
    }
}

/// The reason for distrust in `error` or in what caused it.
pub fn distrust(error: &(dyn Error + 'static)) -> Option<Distrust> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(fault) = error.downcast_ref::<Distrust>() {
            return Some(fault.clone());
        }
        if let Some(fault) = error.downcast_ref::<rustls::Error>() {
            return Some(of_tls(fault));
        }
        // An io::Error's source is that of what it wraps, not what it wraps.
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}

fn of_tls(error: &rustls::Error) -> Distrust {
    use rustls::Error as Tls;
    match error {
        Tls::InvalidMessage(_) => Distrust::SpeaksPlainText,
        Tls::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            Distrust::UnknownAuthority
        }
        Tls::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => Distrust::Expired,
        Tls::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => Distrust::OtherHost,
        Tls::AlertReceived(alert) => match alert {
            AlertDescription::CertificateExpired => Distrust::Refused("it has expired".to_owned()),
            AlertDescription::UnknownCA => Distrust::Refused("it does not know who signed it".to_owned()),
            other => Distrust::Refused(format!("{other:?}")),
        },
        other => Distrust::Tls(other.to_string()),
    }
}
