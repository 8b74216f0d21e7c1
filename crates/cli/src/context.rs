//! What every command is given: the settings, and what follows from them.

use std::str::FromStr;
use std::time::Duration;

use heats_client::{Client, Options};

use crate::exit::Failure;
use crate::output::{Format, Printer};
use crate::settings::Settings;

/// `-o`, for commands that print something.
#[derive(Clone, PartialEq, Eq, Debug, Default, clap::Args)]
pub struct OutputArg {
    /// table, wide, json, jsonl, csv, yaml, name, or value:FIELD
    #[arg(short, long, value_name = "FORM", value_parser = Format::from_str)]
    pub output: Option<Format>,
}

/// The surroundings of a command.
#[derive(Debug)]
pub struct Context {
    /// What the command knows before it is told.
    pub settings: Settings,
    /// Whether any coordinator's answer will do, though it may be behind.
    pub stale: bool,
}

impl Context {
    /// Prints in the form that the command line, or a setting, asks for.
    ///
    /// # Errors
    /// A setting that is not a form of output.
    pub fn printer(&self, arg: &OutputArg) -> Result<Printer, Failure> {
        let format = match &arg.output {
            Some(format) => format.clone(),
            None => self.settings.output()?,
        };
        Ok(Printer::new(format))
    }

    /// A client of the cluster. To be called within a tokio runtime.
    ///
    /// # Errors
    /// A setting that makes no sense.
    pub fn client(&self) -> Result<Client, Failure> {
        let options = Options { patience: self.settings.patience()?, stale: self.stale, ..Options::default() };
        Ok(Client::connect_as(self.settings.addresses(), options, self.settings.credentials()?)?)
    }

    /// Runs `service` in a runtime of all processors until it has ended.
    ///
    /// # Errors
    /// What the service returns.
    pub fn serve<T>(service: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let runtime =
            tokio::runtime::Runtime::new().map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
        let outcome = runtime.block_on(service);
        // Everything that is to be kept is kept by now. What waits for a disk without room must not keep the process.
        runtime.shutdown_timeout(Duration::from_secs(5));
        outcome
    }

    /// Runs `command` in a runtime of one thread: it waits for a coordinator and for little else.
    ///
    /// # Errors
    /// What the command returns.
    pub fn block_on<T>(&self, command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
        let outcome = runtime.block_on(command);
        // A read of standard input that nobody waits for any more must not keep the process.
        runtime.shutdown_timeout(Duration::from_millis(100));
        outcome
    }
}
