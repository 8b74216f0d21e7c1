//! Nodes that join a cluster and leave it.

use heats_replica::{Leadership, Member, MembersError, ProposeError};

use crate::net::{Cluster, ELECTION, propose, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_joins_as_a_learner_votes_once_it_has_caught_up_and_can_be_taken_out() {
    let cluster = Cluster::start().await;
    let (id, leader, term) = cluster.leader().await;
    let last = propose(&leader, term, 0..250).await;
    cluster.open(4).await;
    assert_eq!(cluster.node(4).members(), []);
    let unknown = leader.promote(4).await;
    assert_eq!(unknown, Err(MembersError::Unknown { node: 4 }));

    leader.add_learner(4, "node:4".into()).await.unwrap();
    leader.add_learner(4, "node:4".into()).await.expect("twice is as good as once");
    let elsewhere = leader.add_learner(4, "node:5".into()).await;
    assert_eq!(elsewhere, Err(MembersError::OtherAddress { node: 4, address: "node:4".into() }));
    let joined = cluster.node(4);
    joined.watch_state().wait_for(|state| state.applied >= last).await.unwrap();
    assert!(!joined.members().iter().any(|member| member.node == 4 && member.voter));
    while let Err(error) = leader.promote(4).await {
        assert!(matches!(error, MembersError::Behind { node: 4, .. }), "{error}");
        tokio::task::yield_now().await;
    }
    let members = leader.members();
    assert!(members.iter().all(|member| member.voter && (member.node == id || member.matched >= Some(last))));
    assert_eq!(members.iter().map(|member| member.node).collect::<Vec<_>>(), [1, 2, 3, 4]);

    let gone = 1 + id % 3;
    leader.remove(gone).await.unwrap();
    leader.remove(gone).await.expect("twice is as good as once");
    assert_eq!(leader.members().len(), 3);
    assert_eq!(leader.remove(id).await, Err(MembersError::Leads { node: id }));
    // The newcomer counts: one of the old ones may be lost now.
    cluster.stop(gone).await;
    let other = (1..=3).find(|node| ![id, gone].contains(node)).unwrap();
    cluster.stop(other).await;
    let last = propose(&leader, term, 250..260).await;
    cluster.check_agree(last).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_changed_that_would_leave_no_majority() {
    let cluster = Cluster::start().await;
    let (id, leader, _) = cluster.leader().await;
    let (silent, other) = (1 + id % 3, 1 + (id + 1) % 3);
    let follower = cluster.node(silent);
    let knows = |now: &Leadership| matches!(now, Leadership::Follower { leader: Some(_), .. });
    follower.leadership().wait_for(knows).await.unwrap();
    match follower.remove(other).await {
        Err(MembersError::Propose(ProposeError::NotLeader { leader: Some((at, address)) })) => {
            assert_eq!((at, address), (id, format!("node:{id}")));
        }
        answered => panic!("{answered:?}"),
    }
    cluster.cut(silent);
    // It counts as answering until it has been silent for as long as an election takes. Who was cut off before this leader
    // ever heard of it has never answered.
    let silence = |member: &Member| member.silent_for.is_none_or(|silence| silence > ELECTION);
    let is_silent = || leader.members().iter().any(|member| member.node == silent && silence(member));
    until("the silence", is_silent).await;
    let refused = leader.remove(other).await.unwrap_err();
    assert_eq!(refused, MembersError::NoMajority { voters: 2, silent: vec![silent] });
    assert!(matches!(*leader.leadership().borrow(), Leadership::Leader { .. }));
    cluster.heal();
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_was_begun_and_may_be_lost_is_not_acknowledged() {
    let cluster = Cluster::start().await;
    let (id, leader, _) = cluster.leader().await;
    cluster.open(4).await;
    cluster.cut(id);
    let begun = tokio::spawn({
        let leader = leader.clone();
        async move { leader.add_learner(4, "node:4".into()).await }
    });
    // Its own log has it, and nobody else's.
    until("the entry", || leader.members().iter().any(|member| member.node == 4)).await;
    let again = leader.add_learner(4, "node:4".into()).await;
    assert!(again.is_err(), "acknowledged, and no majority has it");
    let (_, other, _) = cluster.leader().await;
    assert!(!other.members().iter().any(|member| member.node == 4));
    cluster.heal();
    assert!(begun.await.unwrap().is_err());
    // A node that does not lead promises nothing either.
    assert!(matches!(leader.remove(9).await, Err(MembersError::Propose(ProposeError::NotLeader { .. }))));
    other.add_learner(4, "node:4".into()).await.unwrap();
    let follower = cluster.node(1 + id % 3);
    let follower =
        if follower.status().node == other.status().node { cluster.node(1 + (id + 1) % 3) } else { follower };
    follower.leadership().wait_for(|now| matches!(now, Leadership::Follower { leader: Some(_), .. })).await.unwrap();
    let asked = follower.add_learner(4, "node:4".into()).await;
    assert!(matches!(asked, Err(MembersError::Propose(ProposeError::NotLeader { .. }))), "{asked:?}");
    cluster.stop_all().await;
}
