//! `heats token`: tokens for users, admins and machines that are to become agents. A secret is made here, shown once, and
//! known to the cluster by its hash alone.

use heats_domain::units::Span;
use heats_wire::v1;

use crate::context::{Context, OutputArg};
use crate::exit::{Exit, Failure, Outcome};
use crate::hints;
use crate::output::{Column, Fields, Item, Kind, Listing};
use crate::view;

/// How long a token that lets agents join is good, unless told otherwise.
const JOIN_TTL: &str = "1h";

/// The verbs about tokens.
#[derive(clap::Subcommand, Debug)]
pub enum TokenCommand {
    /// Make a token, and print it: it is not shown again
    Create(CreateArgs),
    /// List the tokens that are good, or were until they expired
    Ls(LsArgs),
    /// Make a token good for nothing
    Revoke(RevokeArgs),
}

/// `heats token create`
#[derive(clap::Args, Debug)]
pub struct CreateArgs {
    /// What its bearer may do: run sweeps, run the cluster, or become an agent
    #[arg(long, value_name = "ROLE")]
    role: Role,
    /// Whose it is, for people
    #[arg(long, value_name = "NAME", default_value = "")]
    name: String,
    /// How long it is good [default: for ever; 1h for an agent's]
    #[arg(long, value_name = "TIME")]
    ttl: Option<Span>,
    /// How many machines may become agents by it
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    uses: u32,
    #[command(flatten)]
    output: OutputArg,
}

/// What the bearer of a token may do.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    Admin,
    User,
    Agent,
}

/// `heats token ls`
#[derive(clap::Args, Debug)]
pub struct LsArgs {
    #[command(flatten)]
    output: OutputArg,
}

/// `heats token revoke`
#[derive(clap::Args, Debug)]
pub struct RevokeArgs {
    /// Its id, or its name where only one has it
    #[arg(value_name = "TOKEN")]
    token_id: String,
}

/// Does what the verb says.
pub async fn run(context: &Context, command: &TokenCommand) -> Outcome {
    match command {
        TokenCommand::Create(args) => create(context, args).await,
        TokenCommand::Ls(args) => ls(context, args).await,
        TokenCommand::Revoke(args) => revoke(context, args).await,
    }
}

async fn create(context: &Context, args: &CreateArgs) -> Outcome {
    let CreateArgs { role, name, ttl, uses, output } = args;
    let printer = context.printer(output)?;
    let ttl = match (ttl, role) {
        (Some(ttl), _) => Some(*ttl),
        (None, Role::Agent) => JOIN_TTL.parse().ok(),
        (None, Role::User | Role::Admin) => None,
    };
    let credentials = context.settings.credentials()?;
    let fingerprint = credentials.security.identity().and_then(heats_tls::Identity::fingerprint);
    let Some(fingerprint) = fingerprint else {
        return Err(Failure::new(Exit::Conflict, "a cluster that speaks plain text asks nobody for a token")
            .hint("`heats tls init` makes certificates for one that does; `--ca` names its authority"));
    };
    let secret = heats_client::secret().ok_or_else(|| Failure::failed("the system has no random numbers"))?;
    let request = v1::CreateTokenRequest {
        name: name.clone(),
        role: match role {
            Role::Admin => v1::Role::Admin,
            Role::User => v1::Role::User,
            Role::Agent => v1::Role::Agent,
        }
        .into(),
        hash: blake3::hash(secret.as_bytes()).as_bytes().to_vec(),
        ttl_ms: ttl.map(|ttl| ttl.ms),
        uses_max: *uses,
    };
    let made = context.client()?.create_token(request).await?;
    let id = made.token.unwrap_or_default();
    // Whoever joins knows nobody yet, and has to know the cluster by something.
    let text = match role {
        Role::Agent => format!("{id}.{secret}.{fingerprint}"),
        Role::User | Role::Admin => format!("{id}.{secret}"),
    };
    let json = Fields::new().with("id", id.to_string()).with("name", name.as_str()).with("token", text.as_str()).done();
    let item = Item { name: text.clone(), json };
    printer.one("token", &Fields::new().done(), &item, |out| writeln!(out, "{text}"))?;
    hints::note("this is the only time that it is shown");
    let addresses = context.settings.addresses().join(",");
    let revoke = (format!("heats token revoke {id}"), "when it is needed no more");
    match role {
        Role::Agent => hints::next(&[
            (
                format!("HEATS_ADDRESS={addresses} heats agent start --join TOKEN"),
                "on the machine that is to run trials",
            ),
            revoke,
        ]),
        Role::User | Role::Admin => hints::next(&[
            (
                format!("export HEATS_ADDRESS={addresses} HEATS_CA=ca.pem HEATS_TOKEN=..."),
                "whoever it is for, with a copy of ca.pem",
            ),
            revoke,
        ]),
    }
    Ok(Exit::Ok)
}

async fn ls(context: &Context, args: &LsArgs) -> Outcome {
    let printer = context.printer(&args.output)?;
    let v1::ListTokensResponse { log_index, now_ms, tokens } = context.client()?.tokens_there_are().await?;
    let listing = Listing {
        of: "tokens",
        meta: Fields::new().with("log_index", log_index).done(),
        items: tokens.iter().map(|token| view::token(token, now_ms)).collect(),
        columns: vec![
            Column::new("ID", "id", Kind::Text),
            Column::new("NAME", "name", Kind::Text),
            Column::new("ROLE", "role", Kind::Text),
            Column::new("STATE", "state", Kind::Text),
            Column::new("USES", "uses", Kind::Number),
            Column::wide("EXPIRES", "expires_at", Kind::Text),
        ],
        now_ms,
    };
    printer.list(&listing, "no tokens: `heats token create --role user --name ann` makes one")?;
    Ok(Exit::Ok)
}

async fn revoke(context: &Context, args: &RevokeArgs) -> Outcome {
    let RevokeArgs { token_id } = args;
    let revoked = context.client()?.revoke_token(token_id.as_str()).await?;
    let id = revoked.token.unwrap_or_default();
    hints::note(&format!("token {id} is good for nothing any more; agents that joined by it stay"));
    hints::next(&[
        ("heats token ls".to_owned(), "those that are left"),
        ("heats token create --role user".to_owned(), "another in its place"),
    ]);
    Ok(Exit::Ok)
}
