//! A real browser, driven by WebDriver through chromedriver. Where there is none, tests pass over it with a line, unless
//! `LABRUN_BROWSER=required` says that there must be one.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

use fantoccini::actions::{InputSource, KeyAction, KeyActions};
use fantoccini::elements::Element;
use fantoccini::error::CmdError;
use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use reqwest::{Method, Url};
use serde_json::{Value, json};

use super::lab::Lab;
use super::process::{PASSWORD, deadline};

/// Where Debian's packages put them.
const BROWSER: &str = "/usr/bin/chromium";
const DRIVER: &str = "/usr/bin/chromedriver";

/// How long a page is left alone before it is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A browser, ended with its driver when it is dropped.
#[derive(Debug)]
pub(crate) struct Browser {
    client: Client,
    driver: Child,
    base: String,
    _profile: tempfile::TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver leads a process group of its own, and its browser is in it.
        let group = format!("-{}", self.driver.id());
        drop(Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status());
        drop(self.driver.wait());
    }
}

/// A command that chromedriver has beyond the standard.
#[derive(Debug)]
struct Beyond {
    tail: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Beyond {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, <Url as FromStr>::Err> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.tail))
    }

    fn method_and_body(&self, _url: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.body.to_string()))
    }
}

fn first(key: &str) -> char {
    key.chars().next().expect("a key")
}

/// Starts a driver on a free port; `None` when it ended before it said which, as it does now and then when many start at
/// once.
fn start_driver() -> Option<(Child, u16, impl Iterator<Item = String> + Send + 'static)> {
    use std::os::unix::process::CommandExt;
    let mut driver = Command::new(DRIVER)
        .arg("--port=0")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("chromedriver starts");
    let lines = BufReader::new(driver.stdout.take().expect("it is piped")).lines();
    let mut lines = lines.map_while(Result::ok);
    let port = lines.find_map(|line| {
        line.contains("started successfully")
            .then(|| line.trim_end_matches('.').rsplit(' ').next()?.parse::<u16>().ok())?
    });
    let Some(port) = port else {
        drop(driver.wait());
        return None;
    };
    Some((driver, port, lines))
}

impl Browser {
    /// Starts one for the pages of a lab; `None`, with a line, where there is no browser.
    pub(crate) async fn start(lab: &Lab) -> Option<Self> {
        if !Path::new(BROWSER).exists() || !Path::new(DRIVER).exists() {
            let is_required = std::env::var("LABRUN_BROWSER").is_ok_and(|value| value == "required");
            assert!(!is_required, "there is no {BROWSER} or no {DRIVER}, and there must be");
            println!("skipped: there is no {BROWSER} or no {DRIVER}");
            return None;
        }
        let (driver, port, lines) = (0..3).find_map(|_| start_driver()).expect("chromedriver says its port");
        // What it says later is read, so that it never waits to be heard.
        std::thread::spawn(move || lines.for_each(drop));
        let profile = tempfile::TempDir::with_prefix("labrun-browser-").expect("a directory");
        let data = format!("--user-data-dir={}", profile.path().display());
        let capabilities = json!({
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            "goog:chromeOptions": {"binary": BROWSER, "args": [
                "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
                "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
                "--force-color-profile=srgb", "--hide-scrollbars", data,
            ], "prefs": {"download.default_directory": profile.path()}},
        });
        let capabilities: Capabilities = capabilities.as_object().expect("an object").clone();
        let connected = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await;
        let client = connected.expect("a session");
        Some(Self { client, driver, base: format!("http://127.0.0.1:{}", lab.port()), _profile: profile })
    }

    /// Opens a page.
    pub(crate) async fn open(&self, path: &str) {
        self.client.goto(&format!("{}{path}", self.base)).await.expect("the page opens");
    }

    /// Logs in by the form.
    pub(crate) async fn log_in(&self, username: &str) {
        self.open("/login").await;
        self.type_into("#username", username).await;
        self.type_into("#password", PASSWORD).await;
        self.click("form button.main").await;
        self.until("document.querySelector('.menu summary') !== null").await;
    }

    /// Ends the session, as time does.
    pub(crate) async fn lose_cookies(&self) {
        self.client.delete_all_cookies().await.expect("cookies can be deleted");
    }

    /// Clicks on an element.
    pub(crate) async fn click(&self, css: &str) {
        self.on(css, async |element| element.click().await).await;
    }

    /// Presses keys in an element; a file's field takes a path.
    pub(crate) async fn type_into(&self, css: &str, text: &str) {
        self.on(css, async |element| element.send_keys(text).await).await;
    }

    /// Does something to an element. One that is not there yet is waited for, and one whose place was taken by another
    /// between being found and being acted on is looked for again: pages draw their parts anew while they are used.
    async fn on(&self, css: &str, act: impl AsyncFn(Element) -> Result<(), CmdError>) {
        let end = deadline();
        loop {
            let done = match self.client.find(Locator::Css(css)).await {
                Ok(element) => act(element).await,
                Err(error) => Err(error),
            };
            match done {
                Ok(()) => return,
                Err(error) => {
                    let is_on_the_way = error.is_no_such_element() || error.is_stale_element_reference();
                    assert!(is_on_the_way && std::time::Instant::now() < end, "{css}: {error}");
                }
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Presses a key, wherever the focus is.
    pub(crate) async fn press(&self, key: &str) {
        let keys = [KeyAction::Down { value: first(key) }, KeyAction::Up { value: first(key) }];
        let actions = keys.into_iter().fold(KeyActions::new("keys".to_owned()), KeyActions::then);
        self.client.perform_actions(actions).await.expect("a key can be pressed");
    }

    /// Gives what a script's expression is worth on the page.
    pub(crate) async fn eval(&self, expression: &str) -> Value {
        let script = format!("return ({expression});");
        self.client.execute(&script, Vec::new()).await.unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    /// Runs a script; what it gives to its callback is the answer.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.client.execute_async(script, Vec::new()).await.unwrap_or_else(|error| panic!("{script:.200}: {error}"))
    }

    /// Defines something for the scripts to come on this page.
    pub(crate) async fn define(&self, source: &str) {
        self.client.execute(source, Vec::new()).await.expect("the script runs");
    }

    /// Waits until an expression holds.
    pub(crate) async fn until(&self, expression: &str) {
        let end = deadline();
        // A page that is being left answers with an error, and is asked again.
        let script = format!("return Boolean({expression});");
        while self.client.execute(&script, Vec::new()).await.ok() != Some(Value::Bool(true)) {
            if std::time::Instant::now() > end {
                let text = self.eval("document.body.innerText").await;
                panic!("waited too long for {expression} on {}: {text}", self.path().await);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Waits until a text is seen on the page.
    pub(crate) async fn sees(&self, text: &str) {
        self.until(&format!("document.body.innerText.includes({})", Value::from(text))).await;
    }

    /// Gives the path of the page.
    pub(crate) async fn path(&self) -> String {
        let url = self.client.current_url().await.expect("an address");
        url.as_str().strip_prefix(&self.base).unwrap_or(url.as_str()).to_owned()
    }

    /// Fetches bytes as the page would, with its cookie.
    pub(crate) async fn fetch(&self, path: &str) -> Vec<u8> {
        let script = format!(
            "const done = arguments[0];
             fetch({}).then((reply) => reply.arrayBuffer()).then((bytes) => done([...new Uint8Array(bytes)]));",
            Value::from(path)
        );
        let bytes = self.run(&script).await;
        bytes.as_array().expect("bytes").iter().map(|byte| byte.as_u64().expect("a byte") as u8).collect()
    }

    /// Sets the size of what is seen of a page. A window of a desktop is no narrower than 500, a phone is.
    pub(crate) async fn resize(&self, width: u32, height: u32) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.protocol("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// Asks for a look, as the switch at the top does.
    pub(crate) async fn look(&self, theme: &str) {
        self.define(&format!("document.cookie = 'labrun_theme={theme}; Path=/; SameSite=Lax';")).await;
    }

    /// Gives a picture of what is seen.
    pub(crate) async fn screenshot(&self) -> Vec<u8> {
        self.client.screenshot().await.expect("a picture")
    }

    /// Sends a command of the browser's own protocol.
    async fn protocol(&self, command: &str, params: Value) {
        let body = json!({"cmd": command, "params": params});
        self.client.issue_cmd(Beyond { tail: "goog/cdp/execute", body }).await.expect("the browser does it");
    }

    /// Gives what the browser complained of since it was last asked: errors of scripts, refused loads, and what the
    /// policy kept from running. Those that a test makes on purpose are passed over: `expected` are parts of them.
    pub(crate) async fn complaints(&self, expected: &[&str]) -> Vec<String> {
        let entries = self.log("browser").await;
        let messages = entries.iter().map(|entry| entry["message"].as_str().unwrap_or_default().to_owned());
        messages.filter(|message| !expected.iter().any(|part| message.contains(part))).collect()
    }

    /// Gives the addresses that were asked for since it was last asked; those that a policy kept it from are none.
    pub(crate) async fn requested(&self) -> Vec<String> {
        let mut asked: Vec<(String, String)> = Vec::new();
        for entry in self.log("performance").await {
            let entry: Value = serde_json::from_str(entry["message"].as_str().unwrap_or("{}")).expect("JSON");
            let (method, params) = (&entry["message"]["method"], &entry["message"]["params"]);
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            if method == "Network.requestWillBeSent" {
                asked.push((text(&params["requestId"]), text(&params["request"]["url"])));
            } else if method == "Network.loadingFailed" && params["blockedReason"].is_string() {
                asked.retain(|(request, _)| params["requestId"] != request.as_str());
            }
        }
        // The browser's own first page asks for parts of the browser.
        asked.into_iter().map(|(_, url)| url).filter(|url| !url.starts_with("chrome:")).collect()
    }

    /// Fails if the browser asked anybody but the lab.
    pub(crate) async fn asked_nobody_else(&self) {
        let urls = self.requested().await;
        assert!(!urls.is_empty(), "the log of requests is there");
        let is_ours = |url: &&String| !url.starts_with(&self.base) && !url.starts_with("data:");
        let others: Vec<_> = urls.iter().filter(is_ours).collect();
        assert!(others.is_empty(), "{others:?}");
    }

    async fn log(&self, kind: &str) -> Vec<Value> {
        let log = self.client.issue_cmd(Beyond { tail: "se/log", body: json!({"type": kind}) }).await;
        log.expect("the log can be read").as_array().expect("entries").clone()
    }
}
