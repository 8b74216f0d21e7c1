//! `--on-new-best`: a command of the user's own, on the user's machine, for each new best trial.
//!
//! What has been dealt with is noted in the cluster, under a name that follows from the user, the machine and the command: whoever
//! watches again goes on there. So the command is run at least once, in order; for a best that was overtaken before its turn it is not.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use heats_client::Client;
use heats_domain::SweepSpec;
use heats_wire::v1;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::exit::Failure;
use crate::hints;

/// How often a command that fails is run for one best.
const TRIES: u32 = 3;
/// How long it is waited for before the next.
const AGAIN: Duration = Duration::from_secs(1);

/// The flag.
#[derive(clap::Args, Debug, Clone, Default)]
pub struct OnNewBest {
    /// Run this in a shell here for each new best trial: a JSON object on its input, and HEATS_TRIAL, HEATS_VALUE, HEATS_PARAM_*
    #[arg(long, value_name = "COMMAND")]
    on_new_best: Option<String>,
}

impl OnNewBest {
    /// Whether there is a command.
    pub const fn is_given(&self) -> bool {
        self.on_new_best.is_some()
    }

    /// Whether the command can ever be run.
    ///
    /// # Errors
    /// A sweep without exactly one objective has no best trial.
    pub fn expect_best(&self, spec: Option<&SweepSpec>) -> Result<(), Failure> {
        let is_ranked = spec.is_none_or(|spec| spec.objectives().len() == 1);
        if is_ranked || !self.is_given() {
            return Ok(());
        }
        Err(Failure::usage("`--on-new-best` needs a sweep with one objective: no trial of others is the best")
            .hint("`heats best SWEEP --pareto` lists the front"))
    }

    /// Runs the command for each new best of `sweep` (an id), until it has ended and all is done; without one, at once.
    ///
    /// # Errors
    /// The coordinator is gone for longer than the client is patient, or the sweep was removed.
    pub async fn run(&self, client: &Client, sweep: &str) -> Result<(), Failure> {
        let Some(command) = &self.on_new_best else { return Ok(()) };
        let reader = reader(command);
        loop {
            let request = v1::NextNoticeRequest { sweep: sweep.to_owned(), reader: reader.clone() };
            match client.next_notice(request).await? {
                v1::NextNoticeResponse { notice: Some(v1::Notice { id: _, place, json }), .. } => {
                    tell(command, &json).await;
                    let read = v1::ReadNoticeRequest { sweep: sweep.to_owned(), reader: reader.clone(), place };
                    client.read_notice(read).await?;
                }
                v1::NextNoticeResponse { notice: None, ended: true, .. } => return Ok(()),
                v1::NextNoticeResponse { notice: None, ended: false, .. } => {}
            }
        }
    }
}

/// Who reads: the same at the next time.
fn reader(command: &str) -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_default();
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let whose = blake3::hash(format!("{user}\0{machine}\0{command}").as_bytes()).to_hex();
    format!("on-new-best:{}", &whose[..16])
}

/// Runs the command for one best, again where it fails. What does not work at all is said, and the sweep goes on.
async fn tell(command: &str, json: &str) {
    for left in (0..TRIES).rev() {
        match once(command, json).await {
            Ok(status) if status.success() => return,
            Ok(status) => hints::warn(&format!("the command for the new best ended with {status}")),
            Err(error) => hints::warn(&format!("the command for the new best cannot be run: {error}")),
        }
        if left > 0 {
            tokio::time::sleep(AGAIN).await;
        }
    }
}

async fn once(command: &str, json: &str) -> std::io::Result<std::process::ExitStatus> {
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(command)
        .envs(variables(json))
        .stdin(Stdio::piped())
        // Its output is for people: the data of this command is on the standard output.
        .stdout(std::io::stderr())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // A command that reads nothing is none the worse.
        let _not_read = input.write_all(format!("{json}\n").as_bytes()).await;
    }
    child.wait().await
}

/// What the command finds in its environment.
fn variables(json: &str) -> BTreeMap<String, String> {
    let told: Value = serde_json::from_str(json).unwrap_or_default();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut variables: BTreeMap<String, String> = [
        ("HEATS_SWEEP", &told["sweep"]["name"]),
        ("HEATS_TRIAL", &told["trial"]),
        ("HEATS_METRIC", &told["metric"]),
        ("HEATS_VALUE", &told["value"]),
        ("HEATS_STEP", &told["step"]),
    ]
    .map(|(name, value)| (name.to_owned(), text(value)))
    .into();
    for (name, value) in told["params"].as_object().into_iter().flatten() {
        let name: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
        variables.insert(format!("HEATS_PARAM_{name}"), text(value));
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_told_by_variables_as_a_trial_is() {
        let json = r#"{"sweep":{"name":"s"},"trial":3,"metric":"loss","value":0.5,"step":2,"params":{"net.lr":0.25,"k":"a b"}}"#;
        let told = variables(json);
        let of = |name: &str| told.get(name).map(String::as_str);
        assert_eq!((of("HEATS_SWEEP"), of("HEATS_TRIAL"), of("HEATS_VALUE")), (Some("s"), Some("3"), Some("0.5")));
        assert_eq!((of("HEATS_PARAM_NET_LR"), of("HEATS_PARAM_K")), (Some("0.25"), Some("a b")));
    }

    #[test]
    fn another_command_is_another_reader_and_the_same_one_is_not() {
        assert_eq!(reader("a"), reader("a"));
        assert_ne!(reader("a"), reader("b"));
    }
}
