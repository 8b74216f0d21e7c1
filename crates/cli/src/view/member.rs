//! A coordinator of the cluster as output.

use heats_wire::v1;

use crate::output::{Column, Fields, Item, Kind};

/// A member, with what it says of itself where it answers. `leader` is what the leader's own log has reached.
pub fn member(member: &v1::Member, node: Result<&v1::NodeResponse, &str>, leader: Option<(u64, u64)>) -> Item {
    let leads = leader.is_some_and(|(id, _)| id == member.node);
    let role = match (leads, member.voter) {
        (true, _) => "leader",
        (false, true) => "voter",
        (false, false) => "learner",
    };
    let fields = Fields::new()
        .with("node", member.node)
        .with("address", member.address.as_str())
        .with("role", role)
        .with("state", if node.is_ok() { "up" } else { "unreachable" });
    let fields = match node {
        Ok(node) => fields
            .with("term", node.term)
            .with("log_index", node.log_index)
            .with("applied_index", node.applied_index)
            .with("behind", leader.map(|(_, reached)| reached.saturating_sub(node.applied_index)))
            .with("snapshot_index", node.snapshot_index)
            .with("version", node.version.as_str())
            .with("data_dir", node.data_dir.as_str())
            .with("disk_free", node.disk_free)
            .with("disk_used", node.disk_used),
        Err(why) => fields.with("error", why),
    };
    Item { name: member.node.to_string(), json: fields.done() }
}

/// The columns of a list of members.
pub fn member_columns() -> Vec<Column> {
    vec![
        Column::new("NODE", "node", Kind::Number),
        Column::new("ADDRESS", "address", Kind::Text),
        Column::new("ROLE", "role", Kind::Text),
        Column::new("STATE", "state", Kind::Text),
        Column::new("TERM", "term", Kind::Number),
        Column::new("LOG", "log_index", Kind::Number),
        Column::new("APPLIED", "applied_index", Kind::Number),
        Column::new("BEHIND", "behind", Kind::Number),
        Column::new("VERSION", "version", Kind::Text),
        Column::wide("SNAPSHOT", "snapshot_index", Kind::Number),
        Column::wide("DISK FREE", "disk_free", Kind::Number),
        Column::wide("DISK USED", "disk_used", Kind::Number),
        Column::wide("DATA", "data_dir", Kind::Text),
    ]
}
