//! notation-go's verifier: the program that tests/notation/build makes.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portreeve_test_support::temp::TempDir;
use portreeve_verify::notation::EnvelopeFormat;
use serde_json::{Value, json};

use super::{Case, IDENTITY, Setting};

/// Its verdict on each envelope. `None` if the program is not there.
pub fn judge(settings: &[Setting], cases: &[Case]) -> Option<Vec<Result<(), String>>> {
    let program = program()?;
    let config = TempDir::new();
    let statements: Vec<Value> =
        settings.iter().enumerate().map(|(at, setting)| statement(&config, at, setting)).collect();
    let policy = json!({"version": "1.0", "trustPolicies": statements});
    let policy = config.write("trustpolicy.json", policy.to_string());
    let mut command = Command::new(program);
    command.env_clear().arg("judge").arg("--policy").arg(policy).arg("--config").arg(config.path());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let questions: String = cases.iter().map(|case| format!("{}\n", question(case))).collect();
    let writer = thread::spawn(move || input.write_all(questions.as_bytes()));
    let mut answers = String::new();
    child.stdout.take().unwrap().read_to_string(&mut answers).unwrap();
    assert!(child.wait().unwrap().success(), "{answers}");
    writer.join().unwrap().unwrap();
    let verdict = |line: &str| if line == "ok" { Ok(()) } else { Err(line.to_owned()) };
    Some(answers.lines().map(verdict).collect())
}

fn program() -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../notation/build");
    let places = Command::new(script).arg("--where").output().unwrap();
    let places = String::from_utf8(places.stdout).unwrap();
    let found = places.lines().map(|place| Path::new(place).join("notation")).find(|program| program.exists());
    if found.is_none() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "tests/notation/build must make notation");
        println!("skipped: there is no notation (tests/notation/build makes it)");
    }
    found
}

/// The statement of a policy, whose stores are written.
fn statement(config: &TempDir, at: usize, setting: &Setting) -> Value {
    let mut stores = Vec::new();
    for (kind, certificates) in [("ca", &setting.ca), ("signingAuthority", &setting.authority), ("tsa", &setting.tsa)] {
        for (index, der) in certificates.iter().enumerate() {
            config.write(&format!("truststore/x509/{kind}/s{at}/{index}.der"), der);
        }
        if !certificates.is_empty() {
            stores.push(format!("{kind}:s{at}"));
        }
    }
    let when = if setting.after_cert_expiry_only { "afterCertExpiry" } else { "always" };
    json!({
        "name": format!("s{at}"),
        "registryScopes": [format!("registry.example/s{at}")],
        "signatureVerification": {"level": "strict", "verifyTimestamp": when},
        "trustStores": stores,
        "trustedIdentities": [IDENTITY],
    })
}

fn question(case: &Case) -> Value {
    json!({
        "reference": format!("registry.example/s{}@{}", case.setting, case.descriptor["digest"].as_str().unwrap()),
        "format": match case.format {
            EnvelopeFormat::Jws => "jws",
            EnvelopeFormat::Cose => "cose",
        },
        "descriptor": case.descriptor,
        "envelope": STANDARD.encode(&case.envelope),
    })
}
