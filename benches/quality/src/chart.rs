//! Runs as a picture: mean regret over the budget spent.

use std::fmt::Write as _;

use crate::by_setting;
use crate::plan::Suite;
use crate::sweep::Ran;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
/// Left, right, top, bottom: room for what is written.
const MARGINS: [f64; 4] = [62.0, 150.0, 30.0, 46.0];
/// Told apart by people who see no red or no green (Okabe and Ito 2008).
const COLOURS: [&str; 8] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8a8a8a"];
const POINTS: usize = 120;

/// Both axes are logarithmic.
pub(crate) fn svg(suite: &Suite, runs: &[Ran]) -> String {
    let settings = by_setting(runs);
    let most = suite.budgets.last().copied().unwrap_or(1.0);
    let least = most / 40.0;
    let budgets: Vec<f64> = (0..=POINTS).map(|i| least * (most / least).powf(i as f64 / POINTS as f64)).collect();
    let curves: Vec<(&str, Vec<f64>)> = settings
        .iter()
        .map(|(name, runs)| (*name, budgets.iter().map(|budget| mean_regret(runs, *budget)).collect()))
        .collect();
    let all = || curves.iter().flat_map(|(_, curve)| curve.iter().copied());
    let (low, high) = (all().fold(f64::INFINITY, f64::min) * 0.9, all().fold(0.0, f64::max) * 1.05);
    let [left, right, top, bottom] = MARGINS;
    let x = |budget: f64| left + (WIDTH - left - right) * (budget / least).ln() / (most / least).ln();
    let y = |regret: f64| top + (HEIGHT - top - bottom) * (high / regret).ln() / (high / low).ln();
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
         <text x=\"{left}\" y=\"18\" font-size=\"14\">{}: mean regret by budget</text>\n",
        suite.name
    );
    for regret in ticks(low, high) {
        let at = y(regret);
        let end = WIDTH - right;
        let _ = writeln!(out, "<line x1=\"{left}\" x2=\"{end}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>");
        let _ = writeln!(out, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{regret}</text>", left - 6.0, at + 4.0);
    }
    for budget in ticks(least, most) {
        let at = x(budget);
        let (from, to) = (HEIGHT - bottom, HEIGHT - bottom + 5.0);
        let _ = writeln!(out, "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{from}\" y2=\"{to}\" stroke=\"#555\"/>");
        let _ = writeln!(out, "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{budget}x</text>", to + 14.0);
    }
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">average full trainings for each agent</text>",
        (left + WIDTH - right) / 2.0,
        HEIGHT - 8.0
    );
    let mut labels: Vec<(f64, &str, &str)> = Vec::new();
    for ((name, curve), colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        let points: Vec<String> =
            budgets.iter().zip(curve).map(|(budget, regret)| format!("{:.1},{:.1}", x(*budget), y(*regret))).collect();
        let _ = writeln!(
            out,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>",
            points.join(" ")
        );
        labels.push((curve.last().map_or(top, |regret| y(*regret)), name, colour));
    }
    labels.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut free = top;
    for (at, name, colour) in labels {
        let at = at.max(free);
        free = at + 15.0;
        let _ =
            writeln!(out, "<text x=\"{}\" y=\"{:.1}\" fill=\"{colour}\">{name}</text>", WIDTH - right + 8.0, at + 4.0);
    }
    out + "</svg>\n"
}

fn mean_regret(runs: &[&Ran], budget: f64) -> f64 {
    runs.iter().map(|ran| ran.regret(budget)).sum::<f64>() / runs.len() as f64
}

/// 1, 2 and 5 times powers of ten between two numbers.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let decades = -6..=3;
    let all =
        decades.flat_map(|decade: i32| [1.0, 2.0, 5.0].map(|digit: f64| format!("{digit}e{decade}").parse::<f64>()));
    all.flatten().filter(|tick| (low..=high).contains(tick)).collect()
}
