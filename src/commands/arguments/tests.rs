use super::help::{COMMANDS, OPTIONS};
use super::*;

fn parsed(line: &str) -> Result<Command, String> {
    parse(line.split_whitespace().map(OsString::from)).map_err(|error| error.to_string())
}

fn under(root: &str, identity: Option<(&str, &str)>) -> Certificates {
    let identity = identity.map(|(issuer, subject)| (issuer.to_owned(), subject.to_owned()));
    Certificates { root: root.into(), identity }
}

#[test]
fn commands_and_options() {
    let common = Common { config: Some("c".into()), policies: vec!["p".into(), "q".into()], ..Common::default() };
    assert_eq!(parsed("serve --config c --policies p --policies=q"), Ok(Command::Serve(common)));
    let Ok(Command::Review { wanted, timeout, .. }) =
        parsed("review -o json --timeout 3s --webhooks w --summary s a.yaml -")
    else {
        panic!()
    };
    let expected = review::Wanted {
        inputs: vec![Input::File("a.yaml".into()), Input::StandardInput],
        output: Output::Json,
        namespace: None,
        webhooks: vec!["w".into()],
        summary: Some("s".into()),
    };
    assert_eq!((wanted, timeout), (expected, Some(Duration::from_secs(3))));
    let named = parsed("review --namespace line-1 a.yaml");
    assert!(matches!(named, Ok(Command::Review { wanted, .. }) if wanted.namespace.as_deref() == Some("line-1")));
    // What a shell makes of a variable that is not set names no namespace.
    for wrong in ["", "Line_1", "a/b"] {
        let line = ["review", "--namespace", wrong, "a.yaml"].map(OsString::from);
        let error = parse(line).map(|_| ()).map_err(|error| error.to_string());
        assert_eq!(
            error,
            Err(format!("--namespace: found \"{wrong}\", expected a namespace: a-z, 0-9 and -, at most 63"))
        );
    }
    let Ok(Command::Check { namespace, images, .. }) = parsed("check -n line-1 nginx") else { panic!() };
    assert_eq!((namespace.as_str(), images), ("line-1", vec!["nginx".to_owned()]));
    for (line, expected) in [
        ("check nginx", CheckAgainst::Policies),
        ("check --signatures nginx", CheckAgainst::Cosign { key: None, certificates: None }),
        (
            "check --trust-store ca:a --trust-store tsa:b --identity x nginx",
            CheckAgainst::Notation { stores: vec!["ca:a".into(), "tsa:b".into()], identities: vec!["x".into()] },
        ),
        ("check --key k.pub nginx", CheckAgainst::Cosign { key: Some("k.pub".into()), certificates: None }),
        (
            "check --key k.pub --signatures nginx",
            CheckAgainst::Cosign { key: Some("k.pub".into()), certificates: None },
        ),
        (
            "check --trusted-root r.json --issuer i --subject s nginx",
            CheckAgainst::Cosign { key: None, certificates: Some(under("r.json", Some(("i", "s")))) },
        ),
        (
            "check --trusted-root r.json --key k.pub nginx",
            CheckAgainst::Cosign { key: Some("k.pub".into()), certificates: Some(under("r.json", None)) },
        ),
    ] {
        assert!(matches!(parsed(line), Ok(Command::Check { against, .. }) if against == expected), "{line}");
    }
    assert!(parsed("review --key k.pub a.yaml").is_err());
    let doctor = parsed("doctor -o json --timeout 3s --config c --kubernetes-credentials");
    let common = Common { config: Some("c".into()), kubernetes_credentials: true, ..Common::default() };
    let timeout = Some(Duration::from_secs(3));
    assert_eq!(doctor, Ok(Command::Doctor { common, output: Output::Json, timeout }));
    let reset = Command::Reset { common: Common::default(), names: vec!["a/b".to_owned()] };
    assert_eq!(parsed("check --reset a/b"), Ok(reset));
    let Ok(Command::ExportImages { wanted, .. }) = parsed("export --image a --image b c --key k.pub out") else {
        panic!("an export of images")
    };
    let images = ["a", "b", "c"].map(str::to_owned).to_vec();
    assert_eq!(
        wanted,
        WantedImages {
            images,
            keys: vec!["k.pub".into()],
            directory: "out".into(),
            certificates: None,
            trust_stores: vec![],
            identities: vec![]
        }
    );
    let Ok(Command::Export { wanted, .. }) = parsed("export --server https://n --gun a/b --signer x --flat out") else {
        panic!()
    };
    let expected = Wanted {
        server: Some("https://n".to_owned()),
        gun: "a/b".to_owned(),
        signers: vec!["x".to_owned()],
        root_keys: Vec::new(),
        layout: Layout::Flat,
        directory: "out".into(),
    };
    assert_eq!(wanted, expected);
    assert_eq!(parsed("version"), Ok(Command::Version));
    assert_eq!(parsed("--help"), Ok(Command::Help(overview())));
    let Ok(Command::Review { wanted, .. }) = parsed("review --cluster -n line-1") else { panic!() };
    assert_eq!((wanted.inputs, wanted.namespace.as_deref()), (vec![], Some("line-1")));
    let Ok(Command::Check { output, .. }) = parsed("check --digest i") else { panic!() };
    assert_eq!(output, None);
    let Ok(Command::Lint { config, inputs }) = parsed("lint --config c") else { panic!() };
    assert_eq!((config, inputs), (Some("c".into()), vec![]));
    let Ok(Command::Lint { config: None, inputs }) = parsed("lint - a.yaml") else { panic!() };
    assert_eq!(inputs, [Input::StandardInput, Input::File("a.yaml".into())]);
}

#[test]
fn a_bundle_that_is_typed_must_be_there() {
    let config = |ca: &str| Common { trust_ca: Some(ca.into()), ..Common::default() }.config();
    assert!(matches!(config("/nowhere/ca.pem"), Err(ConfigError::Unreadable { .. })));
    assert_eq!(config("Cargo.toml").unwrap().trust.ca, PathBuf::from("Cargo.toml"));
    assert!(Common::default().config().is_ok());
}

#[test]
fn the_kubernetes_api_can_be_switched_on() {
    assert_eq!(Common::default().config().unwrap().ask_api, AskApi::No);
    for line in ["serve", "review f", "check i"] {
        let (Command::Serve(common) | Command::Review { common, .. } | Command::Check { common, .. }) =
            parsed(&format!("{line} --kubernetes-credentials")).unwrap()
        else {
            panic!("{line}")
        };
        assert_eq!(common.config().unwrap().ask_api, AskApi::Yes, "{line}");
    }
    assert_eq!(Common::default().config().unwrap().children, Children::Trust);
    for line in ["serve", "review f"] {
        let (Command::Serve(common) | Command::Review { common, .. }) =
            parsed(&format!("{line} --compare-children")).unwrap()
        else {
            panic!("{line}")
        };
        let config = common.config().unwrap();
        assert_eq!((config.children, config.ask_api), (Children::Compare, AskApi::No), "{line}");
    }
}

#[test]
fn mistakes_are_told() {
    for (line, expected) in [
        ("", "no command is given"),
        ("reveiw x", "there is no command \"reveiw\"; did you mean \"review\"?"),
        ("help chekc", "there is no command \"chekc\"; did you mean \"check\"?"),
        ("help check lint", "unexpected argument \"lint\""),
        ("--config c check i", "--config stands before a command: the command comes first"),
        ("review", "review needs a FILE or DIR, - for standard input, or --cluster"),
        ("review --cluster a.yaml", "--cluster: found \"a.yaml\", expected no FILE beside it"),
        ("check", "check needs an IMAGE"),
        ("lint", "lint needs a FILE or DIR, or - for standard input"),
        ("check --reset", "check needs the NAME of a repository in trust data"),
        ("export out", "export needs --gun NAME, or --image IMAGE"),
        (
            "export --image a out",
            "export needs --key FILE, the public key that signed the images, --trusted-root FILE or --trust-store NAME",
        ),
        ("export --image a --key k", "export needs a DIR to write to"),
        (
            "export --image a --key k --gun b out",
            "--gun: found \"b\", expected no --image beside it: export one kind at a time",
        ),
        ("check --issuer i --subject s x", "--issuer needs --trusted-root FILE beside it"),
        ("check --subject s x", "--subject needs --trusted-root FILE beside it"),
        ("check --trusted-root r.json --issuer i x", "--issuer needs --subject beside it"),
        ("export --image a --trusted-root r.json --subject s out", "--subject needs --issuer beside it"),
        (
            "check --trusted-root r.json --signatures x",
            "--trusted-root: found \"r.json\", expected no --signatures beside it",
        ),
        (
            "check --trusted-root r.json --policies p x",
            "--policies: found \"p\", expected none of --key, --signatures, --trusted-root and --trust-store beside it",
        ),
        (
            "check --policies p --trust-store ca:a x",
            "--policies: found \"p\", expected none of --key, --signatures, --trusted-root and --trust-store beside it",
        ),
        (
            "check --trusted-root r.json --trust-store ca:a x",
            "--trust-store: found \"ca:a\", expected no option of cosign's beside it",
        ),
        ("export --gun a", "export needs a DIR to write to"),
        ("export --gun a b c", "unexpected argument \"c\""),
        ("review --reset f", "review has no option --reset; it belongs to check"),
        ("check --polices p i", "check has no option --polices; did you mean --policies?"),
        ("check --policy p i", "check has no option --policy; did you mean --policies?"),
        ("check --hlep", "check has no option --hlep; did you mean --help?"),
        ("review -x f", "review has no option -x; portreeve help review has its options"),
        ("check --zzz i", "check has no option --zzz; portreeve help check has its options"),
        ("review --output xml f", "--output: found \"xml\", expected text or json"),
        ("review --timeout 0s f", "--timeout: found \"0s\", expected a time such as 10s"),
        ("review --timeout", "missing argument for option '--timeout'"),
        ("check --reset=yes i", "unexpected argument for option '--reset': \"yes\""),
        ("serve --output json", "serve has no option --output; it belongs to review, check, doctor"),
        ("doctor now", "unexpected argument \"now\""),
        ("serve now", "unexpected argument \"now\""),
        ("version --output json", "version has no options"),
        ("version --foo", "version has no options"),
        ("check --compare-children i", "check has no option --compare-children; it belongs to serve, review"),
        (
            "export --kubernetes-credentials --gun a b",
            "export has no option --kubernetes-credentials; it belongs to serve, review, check, doctor",
        ),
    ] {
        assert_eq!(parsed(line), Err(expected.to_owned()), "{line}");
    }
}

/// Every option of the table is read, and with its value.
#[test]
fn help_and_command_line_have_the_same_options() {
    for command in COMMANDS {
        let text = parsed(&format!("help {}", command.name));
        assert_eq!(parsed(&format!("{} --help", command.name)), text);
        assert_eq!(parsed(&format!("{} -h", command.name)), text);
        let Ok(Command::Help(text)) = text else { panic!("{}", command.name) };
        assert!(text.starts_with(&format!("{}: ", command.name)) && text.contains("\nexit status: "), "{text}");
        assert!(overview().contains(&format!("\n  {}", command.name)));
        for option in OPTIONS.iter().filter(|option| option.of.contains(&command.name)) {
            let name = format!("--{} {}", option.name, option.value);
            assert!(text.contains(name.trim_end()), "{name} in {text}");
            let mut given = Given::default();
            let mut parser = Parser::from_args(if option.value.is_empty() { vec![] } else { vec!["text"] });
            match given.take(option.name, &mut parser) {
                Ok(()) | Err(ArgumentError::Value { .. }) => {}
                Err(error) => panic!("{} --{}: {error}", command.name, option.name),
            }
            assert!(parser.next().unwrap().is_none(), "--{}", option.name);
        }
        assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
    }
}
