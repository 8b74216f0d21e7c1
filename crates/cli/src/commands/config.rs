//! `heats config`

use crate::context::{Context, OutputArg};
use crate::exit::{Exit, Outcome};
use crate::output::{Column, Fields, Item, Kind, Listing};

/// The verbs about settings.
#[derive(clap::Subcommand, Debug)]
pub enum ConfigCommand {
    /// List the settings
    Show(ShowArgs),
}

/// `heats config show`
#[derive(clap::Args, Debug)]
pub struct ShowArgs {
    /// Say where each came from: a flag, the environment, a file, the default
    #[arg(long)]
    origin: bool,
    #[command(flatten)]
    output: OutputArg,
}

/// Lists the settings, and where each came from.
pub fn run(context: &Context, command: &ConfigCommand) -> Outcome {
    let ConfigCommand::Show(ShowArgs { origin, output }) = command;
    let printer = context.printer(output)?;
    let items = context.settings.all().iter().map(|setting| {
        let fields = Fields::new().with("name", setting.key.name()).with("value", setting.shown());
        let fields = if *origin { fields.with("origin", setting.origin.to_string()) } else { fields };
        Item { name: setting.key.name().to_owned(), json: fields.done() }
    });
    let mut columns = vec![Column::new("SETTING", "name", Kind::Text), Column::new("VALUE", "value", Kind::Text)];
    if *origin {
        columns.push(Column::new("FROM", "origin", Kind::Text));
    }
    let listing = Listing { of: "settings", meta: Fields::new().done(), items: items.collect(), columns, now_ms: 0 };
    printer.list(&listing, "")?;
    Ok(Exit::Ok)
}
