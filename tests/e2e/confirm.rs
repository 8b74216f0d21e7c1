//! An honest winner, seen from the outside: leaders run again on fresh seeds, and everybody is told what came of it.

use heats_testkit::Workspace;

const SWEEP: &str = "
version: 1
name: honest
command: [./trial.sh]
space: { x: { int: [1, 4] } }
objective: { minimize: loss, confirm: { top: 2, seeds: 2 } }
search: { algorithm: grid }
";

/// The loss is `x`, but for the first run of 2, which is lucky. Every seed is noted.
const SCRIPT: &str = r#"
loss=$((HEATS_PARAM_X * 10))
mkdir "seen-$HEATS_PARAM_X" 2>/dev/null && [ "$HEATS_PARAM_X" = 2 ] && loss=1
echo "$HEATS_SEED" >> seeds
echo "::metric loss=$loss step=1"
"#;

#[test]
fn the_leaders_run_again_on_fresh_seeds_and_the_honest_winner_is_told_everywhere() {
    let workspace = Workspace::with(SWEEP, SCRIPT);
    let run = workspace.ok(&["run", "sweep.yaml"]);
    for words in
        ["confirmed best: loss 10, the mean of 2 fresh runs", "honest/0, chosen for 10", "4 runs on fresh seeds"]
    {
        assert!(run.stdout.contains(words) || run.stderr.contains(words), "`{words}` in\n{run}");
    }
    let text = workspace.read("seeds");
    let mut seeds: Vec<&str> = text.lines().collect();
    assert_eq!(seeds.len(), 8, "four trials, and two fresh runs of two");
    seeds.sort_unstable();
    seeds.dedup();
    assert_eq!(seeds.len(), 8, "each on a seed of its own");

    let dev = workspace.dev(&[]);
    let best = workspace.ok(&["best", "honest", "-n", "2", "-o", "json"]).json();
    let told: Vec<_> = best["trials"].as_array().expect("a list").iter().map(|t| (&t["number"], &t["value"])).collect();
    assert_eq!(told, [(&0.into(), &10.0.into()), (&1.into(), &1.0.into())], "the lucky one is second");
    let lucky = &best["trials"][1]["confirmed"];
    assert_eq!((&lucky["mean"], &lucky["runs"], &lucky["of"]), (&20.0.into(), &2.into(), &2.into()), "{lucky}");
    let table = workspace.ok(&["best", "honest"]).stdout;
    assert!(table.contains("CONFIRMED") && table.contains("RUNS"), "{table}");
    let sweep = workspace.ok(&["show", "honest", "-o", "json"]).json();
    assert_eq!((&sweep["sweep"]["best"]["number"], &sweep["sweep"]["trials_max"]), (&0.into(), &4.into()), "{sweep}");
    assert_eq!(sweep["sweep"]["counts"]["confirming"], 4, "{sweep}");
    let list = workspace.ok(&["ls", "-o", "value:best.confirmed.mean"]).stdout;
    assert_eq!(list.trim(), "10.0");
    let explained = workspace.ok(&["explain", "honest/4"]).stdout;
    assert!(explained.contains("the configuration of honest/1 again on a seed of its own"), "{explained}");
    let replayed = workspace.ok(&["simulate", "--from", "honest", "-o", "json"]).json();
    assert_eq!(replayed["replay"]["trials"], 4, "{replayed}");
    assert_eq!(replayed["replay"]["recorded"]["trials"], 4, "{replayed}");
    dev.interrupt();
    dev.finish().expect(130);
}
