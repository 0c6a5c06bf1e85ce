//! The gateway's own program as a child process, in a temporary folder and without the vendors' variables.

use super::{Client, Config, config::Program};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    ffi::OsString,
    fs::File,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::watch,
};

const START: Duration = Duration::from_secs(30);
const LISTENING: &str = "listening on http://";

/// Where one gateway, or several, keep what they have.
pub struct Home {
    folder: TempDir,
    data: PathBuf,
    program: Program,
    config: Option<PathBuf>,
}

impl Home {
    pub fn new(config: Config) -> Arc<Home> {
        rustls::crypto::ring::default_provider().install_default().ok();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("gateway.yaml");
        let config_file = config.value.map(|value| {
            std::fs::write(&path, serde_json::to_string_pretty(&value).unwrap()).unwrap();
            path
        });
        let data = config.data_dir.unwrap_or_else(|| folder.path().join("data"));
        let program = config.program.unwrap_or_else(|| Program {
            path: match (config.test_vendors, config.fixtures) {
                (true, _) => example("gateway-with-test-vendors"),
                (false, true) => example("gateway-with-fixtures"),
                (false, false) => product(),
            },
            env: Vec::new(),
        });
        Arc::new(Home { folder, data, program, config: config_file })
    }

    pub fn data_dir(&self) -> &Path {
        &self.data
    }

    /// The working directory of its commands; the configuration is there, as `gateway.yaml`.
    /// What lies in the spool, but for its folder of empty files.
    pub fn in_spool(&self) -> Vec<OsString> {
        let spool = std::fs::read_dir(self.data_dir().join("spool")).unwrap().flatten();
        spool.map(|file| file.file_name()).filter(|name| name != ".spares").collect()
    }
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("gateway.yaml")
    }
    /// Writes another configuration into the file, as an editor does: whole, by a rename.
    pub fn configure(&self, config: &Config) {
        let text = serde_json::to_string_pretty(config.value.as_ref().expect("a configuration")).unwrap();
        self.swap_config(&text);
    }
    pub fn swap_config(&self, text: &str) {
        let new = self.folder.path().join("gateway.yaml.new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.config_file()).unwrap();
    }

    /// A command of this gateway: its configuration, its data, no variables but PATH and HOME.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program.path);
        command
            .current_dir(self.folder.path())
            .env_clear()
            .env("HOME", self.folder.path())
            .envs(self.program.env.iter().map(|(name, value)| (name, value)))
            .kill_on_drop(true);
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command.args(args).arg("--data-dir").arg(&self.data);
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        command
    }

    /// Runs a command to its end.
    ///
    /// # Panics
    /// When it fails, with what it said.
    pub async fn run(&self, args: &[&str]) -> String {
        let output = self.command(args).stdin(Stdio::null()).output().await.expect("the program starts");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{args:?}: {}\n{out}\n{err}", output.status);
        out.into_owned()
    }

    /// A new key of a team.
    pub async fn new_key(&self, team: &str) -> String {
        let said = self.run(&["keys", "create", "--team", team]).await;
        let key = said.split_whitespace().find(|word| word.starts_with("igw_"));
        key.unwrap_or_else(|| panic!("no key in: {said}")).to_owned()
    }
}

fn product() -> PathBuf {
    const PATH: Option<&str> = option_env!("CARGO_BIN_EXE_image-gateway");
    PATH.expect("only the product's own tests are told where it is").into()
}

/// An example program lies beside the tests' own: `target/<profile>/examples`.
fn example(name: &str) -> PathBuf {
    let tests = std::env::current_exe().expect("the tests' own path");
    let profile = tests.parent().and_then(Path::parent).expect("target/<profile>/deps");
    let program = profile.join("examples").join(name);
    assert!(program.exists(), "build it first: cargo build --example {name}");
    program
}

/// A serving gateway. It is killed with the value; a failed test shows its log.
pub struct Gateway {
    home: Arc<Home>,
    child: Child,
    said: Arc<Mutex<String>>,
    log: PathBuf,
    url: String,
}

/// How a gateway ended.
#[derive(Debug)]
pub struct Stopped {
    pub status: ExitStatus,
    pub took: Duration,
}

impl Gateway {
    /// Without a configuration, as on a fresh machine.
    pub async fn fresh() -> Gateway {
        Gateway::start(Config::default()).await
    }

    pub async fn start(config: Config) -> Gateway {
        Gateway::start_at(Home::new(config)).await
    }

    /// One more process over the same data.
    pub async fn start_at(home: Arc<Home>) -> Gateway {
        Gateway::start_with(home, &["serve", "--listen", "127.0.0.1:0"], &[]).await
    }

    /// With this command line, and more variables in its environment.
    pub async fn start_with(home: Arc<Home>, args: &[&str], env: &[(&str, &str)]) -> Gateway {
        let log = home.folder.path().join(format!("log-{}", uuid::Uuid::new_v4()));
        let mut command = home.command(args);
        command.envs(env.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
        let mut child = command.spawn().expect("the gateway starts");
        let said = Arc::new(Mutex::new(String::new()));
        let (found, mut url) = watch::channel(None::<String>);
        let (mut lines, all) = (BufReader::new(child.stdout.take().unwrap()).lines(), said.clone());
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                {
                    let mut all = all.lock().unwrap();
                    all.push_str(&line);
                    all.push('\n');
                }
                if let Some(at) = line.find(LISTENING) {
                    let address = line[at + LISTENING.len()..].split_whitespace().next().unwrap_or_default();
                    found.send_replace(Some(format!("http://{address}")));
                }
            }
        });
        let ready = tokio::time::timeout(START, url.wait_for(Option::is_some)).await;
        let url = match ready {
            Ok(Ok(url)) => url.clone().unwrap(),
            other => {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                panic!("the gateway does not listen ({:?})\n{}\n{log}", other.map(drop), said.lock().unwrap())
            }
        };
        Gateway { home, child, said, log, url }
    }

    pub fn url(&self) -> &str {
        &self.url
    }
    pub fn home(&self) -> &Arc<Home> {
        &self.home
    }
    /// What it printed on standard output so far.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }
    /// What it logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The key that the first start made.
    pub fn key(&self) -> String {
        let path = self.home.data.join("first-key");
        let key = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        key.trim().to_owned()
    }

    /// A caller with the first key.
    pub fn client(&self) -> Client {
        self.client_with(&self.key())
    }
    pub fn client_with(&self, key: &str) -> Client {
        Client::new(&self.url, key)
    }

    /// The same address at this gateway, also after a restart on another port.
    pub fn at(&self, link: &str) -> String {
        let path = link.splitn(4, '/').nth(3).unwrap_or_default();
        format!("{}/{path}", self.url)
    }

    /// The process, for what the kernel tells of it.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// SIGKILL, as by a power cut.
    pub async fn kill(mut self) -> Arc<Home> {
        self.child.kill().await.expect("the gateway runs");
        self.home.clone()
    }
    pub async fn kill_and_restart(self) -> Gateway {
        Gateway::start_at(self.kill().await).await
    }

    /// Sends SIGTERM and does not wait.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }
    /// SIGHUP, and what the log says until the reload has ended one way or the other.
    pub async fn hang_up(&self) -> String {
        let before = self.log().len();
        self.signal(Signal::HUP);
        super::eventually("the reload ends", async || {
            let log = self.log()[before..].to_owned();
            log.contains("the configuration was ").then_some(log)
        })
        .await
    }
    /// SIGSTOP: the process stands still, as a machine that sleeps.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }
    fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        kill_process(pid.expect("it runs"), signal).expect("it can be signalled");
    }
    /// Waits for the end of a process that was told to.
    pub async fn ended(&mut self) -> Stopped {
        let begun = Instant::now();
        let status = tokio::time::timeout(Duration::from_secs(40), self.child.wait()).await;
        let status = status.expect("it ends within its grace").expect("it can be waited for");
        Stopped { status, took: begun.elapsed() }
    }
    /// SIGTERM, and the end.
    pub async fn stop(mut self) -> (Arc<Home>, Stopped) {
        self.terminate();
        let stopped = self.ended().await;
        (self.home.clone(), stopped)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the gateway's log ---\n{}", self.log());
        }
    }
}
