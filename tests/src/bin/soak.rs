//! `soak`: kills runs of the program many times, compares each with the undisturbed run, and counts. scripts/soak.sh
//! builds and starts it.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for people who test")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use dtrain_tests::soak::{Figures, Reference, plan, soak_run};

const USAGE: &str = "soak [--runs N] [--kills K] [--seed S] [--minutes M] [--json FILE]";

struct Options {
    runs: usize,
    kills: usize,
    seed: u64,
    minutes: u64,
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("error: {message}\n\nhint: {USAGE}");
            return ExitCode::from(2);
        }
    };
    let begun = Instant::now();
    let mut figures = Figures::default();
    let mut references = BTreeMap::new();
    for run in plan(options.runs, options.kills, options.seed) {
        if begun.elapsed() > Duration::from_secs(60 * options.minutes) {
            println!("{} minutes are over: {} runs are left out", options.minutes, options.runs - run.number);
            break;
        }
        // Writing beside the training or in it changes no bit, so both are compared with the same run.
        let reference = references.entry((run.method, run.world)).or_insert_with(|| Reference::of(&run));
        let outcome = soak_run(&run, reference);
        figures.add(&run, reference, &outcome);
        println!(
            "run {:2}: {} on {} ranks, async {}, {:?}: {} kills, {}",
            run.number,
            run.method,
            run.world,
            run.asynchronous,
            run.supervision,
            outcome.kills.len(),
            if outcome.faults.is_empty() { "identical".to_owned() } else { outcome.faults.join("; ") }
        );
    }
    let json = figures.to_json(options.seed, begun.elapsed());
    println!("{json:#}");
    if let Some(path) = options.json
        && let Err(error) = std::fs::write(&path, format!("{json:#}\n"))
    {
        eprintln!("error: `{}`: {error}", path.display());
        return ExitCode::from(3);
    }
    if figures.num_faulty() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { runs: 24, kills: 10, seed: 1, minutes: 30, json: None };
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("`{word}` needs a value"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("`{word} {value}` is not a number"));
        match word.as_str() {
            "--runs" => options.runs = number()? as usize,
            "--kills" => options.kills = number()? as usize,
            "--seed" => options.seed = number()?,
            "--minutes" => options.minutes = number()?,
            "--json" => options.json = Some(value.into()),
            _ => return Err(format!("there is no option `{word}`")),
        }
    }
    Ok(options)
}
