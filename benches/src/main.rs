//! `cargo run --release -p benches`: measures the release build of the gateway beside a bare server, and prints the
//! tables of `docs/performance.md`. It judges nothing but the goals that stand in the tables.

mod bench;
mod floor;
mod http;
mod idle;
mod load;
mod machine;
mod report;
mod routing;
mod scenes;
mod server;
mod vendor;

use anyhow::{Context as _, Result, bail};
use bench::{Bench, Size};
use std::path::{Path, PathBuf};

const HELP: &str = "cargo run --release -p benches -- [--quick] [--write FILE] [--only TEXT] [--gateway PROGRAM] [--data FOLDER]

  --quick            short parts: to see that all works, not to quote
  --write FILE       also replaces what stands between the markers of FILE, docs/performance.md
  --only TEXT        only rows whose names contain TEXT
  --gateway PROGRAM  measures this program and builds none
  --data FOLDER      where the measured gateways keep their data; default: the build folder
";

#[derive(Default)]
struct Args {
    quick: bool,
    write: Option<PathBuf>,
    only: Option<String>,
    gateway: Option<PathBuf>,
    data: Option<PathBuf>,
}

fn args() -> Result<Option<Args>> {
    let mut args = Args::default();
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        let mut value = || given.next().with_context(|| format!("{name} needs a value"));
        match name.as_str() {
            "--quick" => args.quick = true,
            "--write" => args.write = Some(value()?.into()),
            "--only" => args.only = Some(value()?),
            "--gateway" => args.gateway = Some(Path::new(&value()?).canonicalize()?),
            "--data" => args.data = Some(value()?.into()),
            "--help" => return Ok(None),
            other => bail!("{other} is not understood\n\n{HELP}"),
        }
    }
    Ok(Some(args))
}

fn main() -> Result<()> {
    // The roles of its child processes.
    let given: Vec<String> = std::env::args().skip(1).collect();
    match given.as_slice() {
        [role, core, program, rest @ ..] if role == "__pinned" => {
            return Err(machine::become_pinned(core.parse().ok(), program, rest));
        }
        [role] if role == "__floor" => return floor::serve(),
        _ => {}
    }
    let Some(args) = args()? else {
        print!("{HELP}");
        return Ok(());
    };
    let program = match &args.gateway {
        Some(program) => program.clone(),
        None => server::build()?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(measure(&args, &program))?;
    println!("{report}");
    if let Some(page) = &args.write {
        report::write_into(page, &report)?;
    }
    Ok(())
}

async fn measure(args: &Args, program: &Path) -> Result<String> {
    let size = if args.quick { Size::QUICK } else { Size::FULL };
    let beside = program.parent().unwrap_or(Path::new(".")).join("bench-data");
    let data = args.data.clone().unwrap_or(beside);
    let mut bench = Bench::start(program, &data, size, args.only.clone()).await?;
    scenes::resting(&mut bench).await?;
    scenes::accepting(&mut bench).await?;
    scenes::generating(&mut bench).await?;
    scenes::waiting(&mut bench).await?;
    idle::idle(&mut bench).await?;
    routing::routing(&mut bench).await?;
    Ok(bench.report.markdown())
}
