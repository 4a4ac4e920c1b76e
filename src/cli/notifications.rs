//! The flags of `labrun serve` that are about telling people: the mail server, and what is told by default.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use crate::domain::notification::{Actions, parse_actions};
use crate::server::{MailSettings, SmtpTls};

/// How jobs' notifications are told.
#[derive(Debug, Args)]
#[command(next_help_heading = "Notifications")]
pub(super) struct Notifications {
    /// Mail server for e-mail notifications; without one they are logged as not sent
    #[arg(long, env = "LABRUN_SMTP_HOST", value_name = "NAME", requires = "mail_from")]
    smtp_host: Option<String>,

    /// Port of the mail server [default: 25, 587 with starttls, 465 with tls]
    #[arg(long, env = "LABRUN_SMTP_PORT", value_name = "PORT", requires = "smtp_host")]
    smtp_port: Option<u16>,

    /// How the way to the mail server is kept private; its certificate must be one that this system trusts
    #[arg(long, env = "LABRUN_SMTP_TLS", value_name = "HOW", value_enum, default_value_t = SmtpTls::Starttls)]
    smtp_tls: SmtpTls,

    /// User name at the mail server, if it wants one
    #[arg(long, env = "LABRUN_SMTP_USER", value_name = "NAME", requires = "smtp_host")]
    smtp_user: Option<String>,

    /// Password at the mail server. Others on this machine can see arguments: prefer the variable or the file
    #[arg(long, env = "LABRUN_SMTP_PASSWORD", value_name = "TEXT", hide_env_values = true, requires = "smtp_user")]
    smtp_password: Option<String>,

    /// File whose first line is the password at the mail server
    #[arg(
        long,
        env = "LABRUN_SMTP_PASSWORD_FILE",
        value_name = "FILE",
        conflicts_with = "smtp_password",
        requires = "smtp_user"
    )]
    smtp_password_file: Option<PathBuf>,

    /// How long the mail server may take for one e-mail, in seconds
    #[arg(long, env = "LABRUN_SMTP_TIMEOUT_S", value_name = "SECONDS", default_value_t = 60,
          value_parser = clap::value_parser!(u64).range(1..=3_600))]
    smtp_timeout_s: u64,

    /// Sender of e-mails, such as `labrun@lab.example` or `Lab 3 <lab3@lab.example>`
    #[arg(long, env = "LABRUN_MAIL_FROM", value_name = "ADDRESS", requires = "smtp_host")]
    mail_from: Option<String>,

    /// JSON file of what is told of jobs that ask for nothing, `{"on_error": [{"subject": "…", "body": "…"}], …}`, as in
    /// the `actions` of a job's notification_override [default: every transition, to whoever watches]
    #[arg(long, env = "LABRUN_DEFAULT_NOTIFICATIONS", value_name = "FILE")]
    default_notifications: Option<PathBuf>,
}

impl Notifications {
    /// Gives what is told by default, and the mail server.
    pub(super) fn settings(self) -> anyhow::Result<(Actions, Option<MailSettings>)> {
        let defaults = match &self.default_notifications {
            Some(file) => read_actions(file)?,
            None => Actions::websocket_for_all(),
        };
        let Some((host, from)) = self.smtp_host.zip(self.mail_from) else { return Ok((defaults, None)) };
        let password = match &self.smtp_password_file {
            Some(file) => Some(super::first_line(file)?),
            None => self.smtp_password,
        };
        let credentials = self.smtp_user.map(|user| (user, password.unwrap_or_default()));
        let timeout = Duration::from_secs(self.smtp_timeout_s);
        let mail = MailSettings { host, port: self.smtp_port, tls: self.smtp_tls, credentials, from, timeout };
        Ok((defaults, Some(mail)))
    }
}

/// Reads the file of default notifications.
fn read_actions(file: &Path) -> anyhow::Result<Actions> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} can't be read", file.display()))?;
    let value = serde_json::from_str(&text).with_context(|| format!("{} is no JSON", file.display()))?;
    let bad = |problems: crate::domain::fields::Problems| {
        anyhow::anyhow!("{} can't be used: {}", file.display(), problems.sentence())
    };
    parse_actions(&value).map_err(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        notifications: Notifications,
    }

    fn parse(line: &str) -> Result<(Actions, Option<MailSettings>), String> {
        use clap::Parser;
        let words = std::iter::once("labrun").chain(line.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        line.notifications.settings().map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn without_flags_watchers_are_told_and_nothing_is_mailed() {
        let (defaults, mail) = parse("").unwrap();
        assert_eq!(defaults, Actions::websocket_for_all());
        assert!(mail.is_none());
    }

    #[test]
    fn a_mail_server_is_put_together() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        std::fs::write(&file, "open sesame\nmore\n").unwrap();
        let line = "--smtp-host mail.lab.example --smtp-tls tls --smtp-port 2465 --mail-from labrun@lab.example";
        let line = format!("{line} --smtp-user labrun --smtp-password-file {}", file.display());
        let mail = parse(&line).unwrap().1.unwrap();
        assert_eq!((mail.host.as_str(), mail.port, mail.tls), ("mail.lab.example", Some(2465), SmtpTls::Tls));
        assert_eq!(mail.credentials, Some(("labrun".to_owned(), "open sesame".to_owned())));
        let plain = parse("--smtp-host mail --mail-from a@b").unwrap().1.unwrap();
        assert_eq!((plain.port, plain.tls, plain.timeout), (None, SmtpTls::Starttls, Duration::from_secs(60)));
    }

    #[test]
    fn half_a_mail_server_is_told() {
        for (line, says) in [
            ("--smtp-host mail", "--mail-from"),
            ("--mail-from a@b", "--smtp-host"),
            ("--smtp-host mail --mail-from a@b --smtp-password x", "--smtp-user"),
            ("--smtp-host mail --mail-from a@b --smtp-tls maybe", "starttls"),
            ("--smtp-host mail --mail-from a@b --smtp-timeout-s 0", "0"),
            ("--smtp-host mail --mail-from a@b --smtp-user u --smtp-password-file /nowhere/at/all", "/nowhere/at/all"),
        ] {
            let error = parse(line).err().unwrap();
            assert!(error.contains(says), "{line}: {error}");
        }
    }

    #[test]
    fn default_notifications_are_read_and_their_mistakes_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("defaults.json");
        let line = format!("--default-notifications {}", file.display());
        assert!(parse(&line).err().unwrap().contains("defaults.json can't be read"));
        for (text, says) in [("{", "is no JSON"), (r#"{"on_error": [{"message": "{x}"}]}"#, "on_error[0].message")] {
            std::fs::write(&file, text).unwrap();
            let error = parse(&line).err().unwrap();
            assert!(error.contains(says), "{text}: {error}");
        }
        std::fs::write(&file, r#"{"on_error": [{"message": "{pk}: {error}"}]}"#).unwrap();
        assert_eq!(parse(&line).unwrap().0.all().count(), 1);
    }
}
