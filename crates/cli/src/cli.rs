//! The command line: one definition each, from which the verbs (`heats submit`), their noun forms
//! (`heats sweep submit`), the help and the completions follow.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::commands;
use crate::context::Context;
use crate::exit::Outcome;
use crate::hints;
use crate::settings::{Flags, Settings, World};

/// Runs many trials of a training script and lets only the best advance.
#[derive(Parser, Debug)]
#[command(
    name = "heats",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    subcommand_required = true,
    disable_help_subcommand = true,
    after_help = "A sweep is named by its name, its id, or `last`; SWEEP/TRIAL@ATTEMPT names what is within it: digits/12@2.\n\
                  Begin with `heats init`, then `heats run sweep.yaml`."
)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// The heading of what one shows to a cluster that asks who calls.
const SECURITY: &str = "To a cluster that asks who you are";

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Everywhere")]
struct Global {
    /// The coordinators, HOST:PORT, with commas between
    #[arg(long, global = true, value_name = "ADDRESS")]
    address: Option<String>,
    /// How long to wait for a cluster that does not answer, for example 30s
    #[arg(long, global = true, value_name = "TIME")]
    patience: Option<String>,
    /// The data directory of `run` and `dev`; other commands find the coordinator that runs in it
    #[arg(long = "data", global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The certificate authority of the cluster: its coordinators are reached over TLS, and must have its signature
    #[arg(long, global = true, value_name = "FILE", help_heading = SECURITY)]
    ca: Option<PathBuf>,
    /// Your certificate
    #[arg(long, global = true, value_name = "FILE", help_heading = SECURITY)]
    cert: Option<PathBuf>,
    /// Your certificate's private key
    #[arg(long, global = true, value_name = "FILE", help_heading = SECURITY)]
    key: Option<PathBuf>,
    /// Your token; HEATS_TOKEN or HEATS_TOKEN_FILE keep it out of the list of processes
    #[arg(long, global = true, value_name = "TOKEN", help_heading = SECURITY)]
    token: Option<String>,
    /// auto, always or never
    #[arg(long, global = true, value_name = "WHEN")]
    color: Option<String>,
    /// Take any coordinator's answer, which may be behind; needs no leader
    #[arg(long, global = true)]
    stale: bool,
    /// Say nothing but results, warnings and errors
    #[arg(short, long, global = true)]
    quiet: bool,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run a sweep to its end on this machine, and print the best trial
    Run(commands::run::Args),
    /// Keep a coordinator and an agent up on this machine, for several sweeps
    Dev(commands::dev::Args),
    /// Write a sweep file to begin with, or from another tool's file
    Init(commands::init::Args),
    /// Look for every error in a sweep file; show what it would run
    Check(commands::check::Args),
    /// Run a sweep in virtual time, over recorded training runs
    Simulate(commands::simulate::Args),
    #[command(flatten)]
    Verb(SweepCommand),
    /// The commands about sweeps, noun first: `heats sweep submit`
    #[command(subcommand)]
    Sweep(SweepCommand),
    /// For scripts inside a trial: read parameters, report, ask whether to stop
    #[command(subcommand)]
    Trial(commands::trial::TrialCommand),
    /// One coordinator of a cluster, on this machine
    #[command(subcommand)]
    Coordinator(commands::coordinator::CoordinatorCommand),
    /// The coordinators of a cluster
    #[command(subcommand)]
    Cluster(commands::cluster::ClusterCommand),
    /// The machines that run trials
    #[command(subcommand)]
    Agent(commands::agent::AgentCommand),
    /// Agents that a batch system starts when trials wait
    #[command(subcommand)]
    Alloc(commands::alloc::AllocCommand),
    /// The tokens that say who may do what
    #[command(subcommand)]
    Token(commands::token::TokenCommand),
    /// How much projects and users may have
    #[command(subcommand)]
    Quota(commands::quota::QuotaCommand),
    /// The certificates of a cluster
    #[command(subcommand)]
    Tls(commands::tls::TlsCommand),
    /// The settings, and where each came from
    #[command(subcommand)]
    Config(commands::config::ConfigCommand),
    /// Print a shell's completions
    Completions(commands::completions::Args),
    /// Print the JSON schema of the sweep file
    Schema(commands::schema::Args),
}

#[derive(Subcommand, Debug)]
enum SweepCommand {
    /// Hand a sweep to the coordinator
    Submit(Box<commands::submit::Args>),
    /// List sweeps, newest first
    Ls(commands::ls::Args),
    /// Show a sweep, a trial, an attempt or an agent
    Show(commands::show::Args),
    /// Watch a sweep until it ends; Ctrl-C leaves it running
    Watch(commands::watch::Args),
    /// List the best trials
    Best(commands::best::Args),
    /// List trials, some of them, in any order
    Trials(commands::trials::Args),
    /// Put trials side by side
    Compare(commands::compare::Args),
    /// List the files that a trial keeps, or fetch them
    Artifacts(commands::artifacts::Args),
    /// Print what trials wrote
    Logs(commands::logs::Args),
    /// Print what happened
    Events(commands::events::Args),
    /// Say why: why it waits, why it was stopped, why this configuration
    Explain(commands::explain::Args),
    /// Say exactly what a trial was, or run it again and compare
    Reproduce(commands::reproduce::Args),
    /// Start no more trials; running ones go on
    Pause(commands::control::Args),
    /// Go on after a pause
    Resume(commands::control::Args),
    /// Let running trials finish, then end
    Stop(commands::control::Args),
    /// End running trials now: of a sweep, or some of them
    Cancel(commands::control::CancelArgs),
    /// Change a sweep's limits
    Edit(commands::edit::Args),
    /// Ask for a configuration to be tried next
    Enqueue(commands::enqueue::Args),
    /// Try failed trials again
    Retry(commands::retry::Args),
    /// Remove a sweep that has ended
    Rm(commands::rm::Args),
    /// Write every trial to a file
    Export(commands::export::Args),
}

impl Cli {
    /// Does what the command line says.
    ///
    /// # Errors
    /// Why it could not.
    pub fn run(self) -> Outcome {
        let Self { global, command } = self;
        let Global { address, patience, data_dir, ca, cert, key, token, color, stale, quiet } = global;
        if quiet {
            hints::be_quiet();
        }
        let flags = Flags { address, patience, color, data_dir, ca, certificate: cert, private_key: key, token };
        let settings = match (&command, Settings::read(&flags, &World::of_process())) {
            // A trial's script must not fail over a file of settings that it does not need.
            (Command::Trial(command), _) => return commands::trial::run(command),
            (_, settings) => settings?,
        };
        settings.color()?.write_global();
        for warning in &settings.warnings {
            hints::warn(warning);
        }
        let context = Context { settings, stale };
        match command {
            Command::Run(args) => commands::run::run(&context, &args),
            Command::Dev(args) => commands::dev::run(&context, &args),
            Command::Init(args) => commands::init::run(&args),
            Command::Check(args) => commands::check::run(&context, &args),
            Command::Simulate(args) => commands::simulate::run(&context, &args),
            Command::Verb(command) | Command::Sweep(command) => command.run(&context),
            Command::Trial(command) => commands::trial::run(&command),
            Command::Coordinator(command) => commands::coordinator::run(&context, &command),
            Command::Cluster(command) => commands::cluster::run(&context, &command),
            Command::Agent(command) => commands::agent::run(&context, &command),
            Command::Alloc(command) => commands::alloc::run(&context, &command),
            Command::Token(command) => context.block_on(commands::token::run(&context, &command)),
            Command::Quota(command) => context.block_on(commands::quota::run(&context, &command)),
            Command::Tls(command) => commands::tls::run(&command),
            Command::Config(command) => commands::config::run(&context, &command),
            Command::Completions(args) => commands::completions::run(&args),
            Command::Schema(args) => commands::schema::run(&args),
        }
    }
}

impl SweepCommand {
    fn run(self, context: &Context) -> Outcome {
        use heats_wire::v1::Verb;
        context.block_on(async {
            match self {
                Self::Submit(args) => commands::submit::run(context, &args).await,
                Self::Ls(args) => commands::ls::run(context, &args).await,
                Self::Show(args) => commands::show::run(context, &args).await,
                Self::Watch(args) => commands::watch::run(context, &args).await,
                Self::Best(args) => commands::best::run(context, &args).await,
                Self::Trials(args) => commands::trials::run(context, &args).await,
                Self::Compare(args) => commands::compare::run(context, &args).await,
                Self::Artifacts(args) => commands::artifacts::run(context, &args).await,
                Self::Logs(args) => commands::logs::run(context, &args).await,
                Self::Events(args) => commands::events::run(context, &args).await,
                Self::Explain(args) => commands::explain::run(context, &args).await,
                Self::Reproduce(args) => commands::reproduce::run(context, &args).await,
                Self::Pause(args) => commands::control::run(context, &args, Verb::Pause).await,
                Self::Resume(args) => commands::control::run(context, &args, Verb::Resume).await,
                Self::Stop(args) => commands::control::run(context, &args, Verb::Stop).await,
                Self::Cancel(args) => commands::control::cancel(context, &args).await,
                Self::Edit(args) => commands::edit::run(context, &args).await,
                Self::Enqueue(args) => commands::enqueue::run(context, &args).await,
                Self::Retry(args) => commands::retry::run(context, &args).await,
                Self::Rm(args) => commands::rm::run(context, &args).await,
                Self::Export(args) => commands::export::run(context, &args).await,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_argument_of_a_command_is_taken_for_one_that_all_commands_have() {
        fn look(command: &clap::Command, everywhere: &[String], path: &str) {
            let path = format!("{path} {}", command.get_name());
            let own = |arg: &&clap::Arg| !arg.is_global_set();
            for arg in command.get_arguments().filter(own) {
                assert!(!everywhere.iter().any(|id| arg.get_id() == id.as_str()), "{path}: {}", arg.get_id());
            }
            command.get_subcommands().for_each(|command| look(command, everywhere, &path));
        }
        let command = Cli::command();
        let global = command.get_arguments().filter(|arg| arg.is_global_set());
        let everywhere: Vec<String> = global.map(|arg| arg.get_id().to_string()).collect();
        assert!(everywhere.contains(&"address".to_owned()));
        look(&command, &everywhere, "");
    }

    #[test]
    fn every_verb_has_its_noun_form() {
        let command = Cli::command();
        let names = |command: &clap::Command| -> Vec<String> {
            command.get_subcommands().map(|verb| verb.get_name().to_owned()).collect()
        };
        let verbs = names(&command);
        let sweep = command.find_subcommand("sweep").expect("the noun");
        for verb in names(sweep) {
            assert!(verbs.contains(&verb), "{verb}");
        }
        assert!(!verbs.contains(&"help".to_owned()));
    }
}
