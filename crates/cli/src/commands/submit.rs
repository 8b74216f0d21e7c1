//! `heats submit`

use std::path::PathBuf;

use heats_client::Client;
use heats_wire::v1;
use serde_json::json;

use crate::code::{self, Packed};
use crate::context::{Context, OutputArg};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{Fields, Item};
use crate::sweepfile::{self, Inline, Loaded, Overrides};
use crate::{hints, live, words};

/// See [`run`].
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The sweep file; `-` for standard input; none for a sweep made of options
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    overrides: Overrides,
    /// Watch it until it ends
    #[arg(short, long)]
    wait: bool,
    #[command(flatten)]
    on_new_best: live::OnNewBest,
    /// Check everything, submit nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    inline: Inline,
}

/// Hands a sweep to the coordinator.
pub async fn run(context: &Context, args: &Args) -> Outcome {
    let Args { file, overrides, wait, on_new_best, dry_run, output, inline } = args;
    if on_new_best.is_given() && !*wait {
        return Err(Failure::usage("`--on-new-best` runs a command for as long as this one waits").hint("add `-w`"));
    }
    let loaded = match file {
        Some(_) if inline.is_given() => {
            return Err(Failure::usage("a sweep file and a sweep made of options at once")
                .hint("`--set budget.trials=50` changes a file's value"));
        }
        Some(path) => sweepfile::load(path, overrides),
        None => sweepfile::of_inline(inline, overrides),
    };
    let loaded = loaded.map_err(sweepfile::Invalid::say)?;
    let printer = context.printer(output)?;
    if *dry_run {
        let text = serde_json::to_value(&loaded.spec).unwrap_or_default();
        let json = Fields::new().with("valid", true).with("spec", text).done();
        printer.one("dry_run", &Fields::new().done(), &Item { name: String::new(), json }, |out| {
            writeln!(out, "valid; nothing was submitted")
        })?;
        return Ok(Exit::Ok);
    }
    let client = context.client()?;
    let v1::SubmitResponse { sweep, name, existed: _, warning } = send(&client, &loaded).await?;
    let id = sweep.unwrap_or_default();
    if !warning.is_empty() {
        hints::warn(&warning);
    }
    if !loaded.spec.search.from.is_empty() {
        for one in client.get(id.to_string()).await?.sweep.unwrap_or_default().learned {
            hints::note(&format!("it learns from {}", words::learned(&one)));
        }
    }
    if *wait {
        hints::note(&format!("submitted {name} ({id})"));
        let sweep = client.get(id.to_string()).await?.sweep.unwrap_or_default();
        return super::watch::watch(context, output, &client, &sweep, on_new_best).await;
    }
    let json = Fields::new().with("name", name.as_str()).with("id", id.to_string()).done();
    let item = Item { name: name.clone(), json };
    printer.one("submitted", &Fields::new().done(), &item, |out| writeln!(out, "{name}"))?;
    hints::next(&[
        (format!("heats watch {name}"), "follow it to its end"),
        (format!("heats best {name}"), "the best so far"),
        (format!("heats explain {name}"), "why it waits, if it does"),
        (format!("heats cancel {name}"), "end it"),
    ]);
    Ok(Exit::Ok)
}

/// Sends the code of `loaded`, where it names some, and then the sweep.
pub async fn send(client: &Client, loaded: &Loaded) -> Result<v1::SubmitResponse, Failure> {
    let packed = code::pack(&loaded.spec, &loaded.base_dir)?;
    if let Some(packed) = &packed {
        hints::note(&format!("code: {}", packed.sentence()));
        client.put_archive(packed.name.as_str(), &packed.data).await?;
    }
    Ok(client.submit(request(loaded, packed.as_ref())).await?)
}

/// The request that submits `loaded` with its code; the client gives it its number.
pub fn request(loaded: &Loaded, code: Option<&Packed>) -> v1::SubmitRequest {
    v1::SubmitRequest {
        request: 0,
        spec: serde_json::to_string(&loaded.spec).unwrap_or_default(),
        base_dir: loaded.base_dir.display().to_string(),
        name: String::new(),
        provenance: provenance(loaded, code).to_string(),
        code: code.map(|code| code.name.to_string()).unwrap_or_default(),
    }
}

/// A command line without the token that it may hold: it is recorded, and shown to whoever may see the sweep.
fn without_secrets(args: impl Iterator<Item = String>) -> impl Iterator<Item = String> {
    let mut is_secret = false;
    args.map(move |word| {
        let hidden = std::mem::replace(&mut is_secret, word == "--token");
        match word.split_once('=') {
            Some(("--token", _)) => "--token=(hidden)".to_owned(),
            _ if hidden => "(hidden)".to_owned(),
            _ => word,
        }
    })
}

/// Who submits it, from where, with which code and data.
fn provenance(loaded: &Loaded, code: Option<&Packed>) -> serde_json::Value {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let data: Vec<serde_json::Value> =
        loaded.spec.data.iter().map(|data| sweepfile::fingerprint(data, &loaded.base_dir)).collect();
    let command: Vec<String> = without_secrets(std::env::args()).map(|word| words::quoted(&word)).collect();
    json!({
        "file": loaded.file.as_ref().map(|file| file.display().to_string()),
        "user": variable("USER").or_else(|| variable("LOGNAME")),
        "host": host,
        "command": command.join(" "),
        "data": data,
        "code": code::provenance(&loaded.spec, &loaded.base_dir, code),
        "version": env!("CARGO_PKG_VERSION"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_on_the_command_line_is_not_recorded() {
        let shown = |line: &str| without_secrets(line.split(' ').map(str::to_owned)).collect::<Vec<_>>().join(" ");
        assert_eq!(shown("heats --token t.s submit f"), "heats --token (hidden) submit f");
        assert_eq!(shown("heats submit f --token=t.s"), "heats submit f --token=(hidden)");
        assert_eq!(shown("heats submit f --name token"), "heats submit f --name token");
    }
}
