//! The measured programs as child processes: the gateway in its release build, and the floor.

use crate::{
    http::{Connection, request},
    machine::{self, Cores},
    vendor::Vendor,
};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use std::{
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::{sleep, timeout},
};

const START: Duration = Duration::from_secs(60);
const LISTENING: &str = "listening on http://";

/// A child process that listens. It is killed with the value.
pub struct Server {
    child: Child,
    pub pid: u32,
    pub address: SocketAddr,
    pub started: Instant,
    /// Kept open: a program that prints to a closed pipe may end.
    _said: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
}

impl Server {
    /// Starts `program` on the server's core and waits for the line that says where it listens.
    async fn start(mut command: Command) -> Result<Server> {
        command.kill_on_drop(true).stdin(Stdio::null()).stdout(Stdio::piped());
        let started = Instant::now();
        let mut child = command.spawn()?;
        let mut said = BufReader::new(child.stdout.take().context("no standard output")?).lines();
        let listens = async {
            while let Some(line) = said.next_line().await? {
                if let Some((_, address)) = line.split_once(LISTENING) {
                    return Ok(address.trim().parse::<SocketAddr>()?);
                }
            }
            bail!("it ended before it listened")
        };
        let address = timeout(START, listens).await.context("it does not listen")??;
        let pid = child.id().context("it ended")?;
        Ok(Server { child, pid, address, started, _said: said })
    }

    pub async fn kill(mut self) {
        self.child.kill().await.ok();
    }

    /// # Errors
    /// It has ended.
    pub fn cpu(&self) -> Result<Duration> {
        machine::cpu(self.pid)
    }

    /// # Errors
    /// It has ended.
    pub fn memory(&self) -> Result<machine::Memory> {
        machine::memory(self.pid)
    }
}

/// This program again, as it pins itself and becomes another.
fn pinned(cores: Option<Cores>, program: &Path, args: &[&str]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    let core = cores.map_or("any".to_owned(), |cores| cores.server.to_string());
    command.arg("__pinned").arg(core).arg(program).args(args);
    Ok(command)
}

/// # Errors
/// It does not start.
pub async fn floor(cores: Option<Cores>) -> Result<Server> {
    let exe = std::env::current_exe()?;
    Server::start(pinned(cores, &exe, &["__floor"])?).await.context("the floor")
}

/// The gateway's program, built if it is missing or older than its sources.
///
/// # Errors
/// It cannot be built.
pub fn build() -> Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let target = exe.parent().and_then(Path::parent).context("target/release")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let status = std::process::Command::new(cargo)
        .args(["build", "--release", "--locked", "--package", "image-gateway", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(target)
        .status()?;
    ensure!(status.success(), "the gateway cannot be built");
    Ok(target.join("release/image-gateway"))
}

/// What a process of the gateway does, as `jobs.role` names it.
#[derive(Clone, Copy)]
pub enum Role {
    All,
    Api,
}

/// The configuration: limits out of the way, all else as it is without a file.
fn config(role: Role, vendor: &Vendor) -> Value {
    let many = json!({"requests": "10000000/s", "burst": 10_000_000});
    let at =
        |behaviour: &str| json!({"kind": "openai", "base_url": vendor.url(behaviour), "models": ["png"]});
    let behaviours = ["small", "large", "slow", "held", "refuse", "never"];
    let providers: serde_json::Map<_, _> = behaviours.iter().map(|b| ((*b).to_owned(), at(b))).collect();
    let models: serde_json::Map<_, _> =
        behaviours.iter().map(|b| ((*b).to_owned(), json!({"targets": [format!("{b}/png")]}))).collect();
    json!({
        "version": 1,
        "server": {"limits": {"streams_per_principal": 1_000_000}},
        "mcp": {"wait_ceiling": "1h"},
        "limits": {"per_key": many, "per_team": many, "per_address": {"unauthenticated": "10000000/s"}},
        "jobs": {
            "role": match role { Role::All => "all", Role::Api => "api" },
            "queue_limit": 100_000_000,
            "deadline": "24h",
        },
        "providers": providers,
        "models": models,
        "routing": {"default_model": ["small"]},
    })
}

/// Where a gateway keeps what it has, and how it is started there.
pub struct Home {
    folder: PathBuf,
    program: PathBuf,
    cores: Option<Cores>,
}

impl Home {
    /// # Errors
    /// The folder cannot be made.
    pub fn new(folder: PathBuf, program: &Path, cores: Option<Cores>) -> Result<Home> {
        std::fs::create_dir_all(&folder)?;
        Ok(Home { folder, program: program.to_owned(), cores })
    }

    /// The key that the first start made.
    ///
    /// # Errors
    /// There was no start.
    pub fn key(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.folder.join("data/first-key"))?.trim().to_owned())
    }

    /// Starts a gateway and waits until it calls itself ready. Gives the time from its start to that.
    ///
    /// # Errors
    /// It does not get there; its log is in the folder.
    pub async fn start(&self, role: Role, vendor: &Vendor) -> Result<(Server, Duration)> {
        self.start_with(role, vendor, |_| {}).await
    }

    /// As [`Home::start`], with a configuration that is changed before.
    ///
    /// # Errors
    /// As `start`.
    pub async fn start_with(
        &self,
        role: Role,
        vendor: &Vendor,
        change: impl FnOnce(&mut Value),
    ) -> Result<(Server, Duration)> {
        let file = self.folder.join("gateway.yaml");
        let mut config = config(role, vendor);
        change(&mut config);
        std::fs::write(&file, serde_json::to_string_pretty(&config)?)?;
        let (data, file) = (self.folder.join("data"), file.display().to_string());
        let data = data.display().to_string();
        let args = ["serve", "--listen", "127.0.0.1:0", "--data-dir", &data, "--config", &file];
        let mut command = pinned(self.cores, &self.program, &args)?;
        command.current_dir(&self.folder).env_clear().env("HOME", &self.folder);
        command.stderr(File::create(self.folder.join("log"))?);
        let server = Server::start(command).await;
        let server =
            server.with_context(|| std::fs::read_to_string(self.folder.join("log")).unwrap_or_default())?;
        let mut connection = Connection::open(server.address).await?;
        let probe = request("GET", "/readyz", None, "");
        while connection.call(&probe).await?.status != 200 {
            ensure!(server.started.elapsed() < START, "the gateway does not become ready");
            sleep(Duration::from_millis(2)).await;
        }
        let took = server.started.elapsed();
        Ok((server, took))
    }
}
