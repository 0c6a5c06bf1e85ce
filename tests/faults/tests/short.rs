//! A few trials of every quick row, so that the harness itself cannot rot.

use std::process::Command;

#[test]
fn a_short_round_finds_nothing_wrong() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_faults"));
    command.args(["--rounds", "4", "--seed", "1", "--short"]);
    assert!(command.status().expect("it runs").success(), "see the table above");
}
