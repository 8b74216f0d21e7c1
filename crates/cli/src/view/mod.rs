//! What the coordinator sends, as the output's fields. Golden tests hold the names: scripts depend on them.

mod agent;
mod hardware;
mod member;
mod provenance;
mod sweep;
mod token;
mod trial;

pub use agent::{agent, barred, held, held_address, left_alone, quarantined, unusable, write_quarantine};
pub use hardware::{gang_ports, gpu, gpu_line, map, offered, write_words};
pub use member::{member, member_columns};
pub use provenance::{environment, environments, hardware, machines};
pub use sweep::{
    front, front_short, is_over, objective, objectives, pairs, planned, spec, status, sweep, sweep_columns, winner,
};
pub use token::token;
pub use trial::{
    agents_of, artifact, attempt, failure, keeping, not_kept, point, state, stretch, trial, trial_columns, verdict,
};
