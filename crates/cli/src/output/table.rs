//! Tables for people: columns of a fixed width on a terminal, as wide as they need to be in a pipe.

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};

/// Columns narrower than this are not worth wrapping for.
const WIDTH_MIN: u16 = 60;

/// The lines of a table. With `width`, cells wrap so that no line is longer.
pub fn lines(header: &[String], rows: &[Vec<String>], right: &[bool], width: Option<u16>) -> Vec<String> {
    let mut table = Table::new();
    match width {
        Some(width) => {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width.max(WIDTH_MIN));
        }
        None => {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
    }
    if !header.is_empty() {
        table.set_header(header.iter().map(Cell::new).collect::<Vec<_>>());
    }
    for row in rows {
        let cells = row.iter().zip(right).map(|(text, right)| {
            Cell::new(text).set_alignment(if *right { CellAlignment::Right } else { CellAlignment::Left })
        });
        table.add_row(cells.collect::<Vec<_>>());
    }
    for (column, right) in table.column_iter_mut().zip(right) {
        column.set_padding((0, 2));
        if *right {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.load_style(comfy_table::presets::NOTHING);
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_right_and_a_pipe_gets_whole_cells() {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<String>>();
        let long = "x".repeat(300);
        let rows = [words(&["digits", "3"]), words(&[&long, "12"])];
        let lines = lines(&words(&["NAME", "TRIALS"]), &rows, &[false, true], None);
        assert_eq!(lines.len(), 3);
        assert!(lines[1].starts_with("digits") && lines[1].ends_with("     3"), "{}", lines[1]);
        assert_eq!(lines[2], format!("{long}      12"));
    }
}
