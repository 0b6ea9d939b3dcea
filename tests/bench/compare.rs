//! Before and after: the figures of several runs of two executables, which take turns. `BEFORE=/path/to/portreeve` in the
//! environment names the other one; without it, there is one column.
//!
//! Each run is a process of its own, so that no run inherits the memory or the threads of another.

use std::env;
use std::ffi::OsString;
use std::process::{Command, Stdio};

use crate::figures::Unit;
use crate::site::executable;
use crate::table;

/// The values of one figure, by run.
struct Figure {
    name: String,
    unit: Unit,
    values: Vec<f64>,
}

impl Figure {
    fn median(&self) -> f64 {
        let mut values = self.values.clone();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    }

    /// `181 µs (176 µs to 190 µs)`: the median, the least and the most.
    fn cell(&self) -> String {
        let least = self.values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.values.iter().copied().fold(0.0, f64::max);
        let [median, least, most] = [self.median(), least, most].map(|value| self.unit.show(value));
        if least == most { median } else { format!("{median} ({least} to {most})") }
    }
}

pub(crate) fn print(runs: u32) {
    let mut columns: Vec<(&str, OsString, Vec<Figure>)> = Vec::new();
    if let Some(before) = env::var_os("BEFORE") {
        columns.push(("before", before, Vec::new()));
    }
    columns.push((if columns.is_empty() { "found" } else { "after" }, executable().into(), Vec::new()));
    for run in 1..=runs {
        for (name, program, figures) in &mut columns {
            eprintln!("run {run} of {runs}, {name}");
            add(figures, &once("figures", program));
        }
    }
    for (_, program, figures) in &mut columns {
        add(figures, &once("instructions", program));
    }
    let mut head = vec!["figure"];
    head.extend(columns.iter().map(|(name, ..)| *name));
    if columns.len() > 1 {
        head.push("after to before");
    }
    let last = &columns[columns.len() - 1].2;
    let rows = last.iter().map(|figure| {
        let mut row = vec![figure.name.clone(), figure.cell()];
        if let [(_, _, before), _] = columns.as_slice() {
            let other = before.iter().find(|other| other.name == figure.name);
            row.insert(1, other.map(Figure::cell).unwrap_or_default());
            let to = other.map(|other| figure.median() / other.median()).filter(|ratio| ratio.is_finite());
            row.push(to.map(|ratio| format!("{ratio:.2}")).unwrap_or_default());
        }
        row
    });
    let rows: Vec<_> = rows.collect();
    table::print(&format!("Medians of {runs} runs, with the least and the most"), &head, &rows);
}

/// The lines of one run.
fn once(what: &str, program: &OsString) -> String {
    let mut command = Command::new(env::current_exe().unwrap());
    command.arg(what).env("PORTREEVE", program).stderr(Stdio::inherit());
    let output = command.output().unwrap();
    assert!(output.status.success(), "a run failed");
    String::from_utf8(output.stdout).unwrap()
}

fn add(figures: &mut Vec<Figure>, lines: &str) {
    for line in lines.lines() {
        let [name, unit, value] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let value: f64 = value.parse().unwrap();
        match figures.iter_mut().find(|figure| figure.name == name) {
            Some(figure) => figure.values.push(value),
            None => {
                let unit = Unit::named(unit).unwrap();
                figures.push(Figure { name: name.to_owned(), unit, values: vec![value] });
            }
        }
    }
}
