//! The commands of docs/keyless.md, run as they are printed, against a real instance under its own addresses.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{OTHER, Plant};
use crate::docs::blocks::{Block, in_page};
use crate::process::run;
use crate::product::executable;
use crate::sigstore::Services;

const PAGE: &str = "docs/keyless.md";

/// The files of the page: blocks whose first line is a comment with a path.
fn files(page: &str) -> Vec<(&str, &str)> {
    let blocks = page.split("```yaml\n# ").skip(1);
    blocks.filter_map(|rest| rest.split_once("\n```")?.0.split_once('\n')).collect()
}

#[test]
fn the_commands_of_the_page_lead_from_the_services_to_the_denial() {
    let Some(mut plant) = Plant::new(true, true) else { return };
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE)).unwrap();
    let mut names = plant.instance.addresses().to_vec();
    names.push(("registry.local:9001", plant.registry.host()));
    let here = |text: &str| names.iter().fold(text.to_owned(), |text, (name, address)| text.replace(name, address));

    let directory = plant.site.file("reader/token", &plant.instance.build_token("build.yml"));
    let directory = directory.parent().unwrap();
    for (name, file) in plant.instance.public_files() {
        fs::copy(file, directory.join(name)).unwrap();
    }
    fs::copy(plant.producers.pki.ca(), directory.join("registry-ca.pem")).unwrap();
    let files = files(&page);
    assert_eq!(files.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["policies/plant.yaml", "portreeve.yaml"]);
    for (name, text) in files {
        plant.site.file(&format!("reader/{name}"), &here(text));
    }
    plant.push("plc");
    let (_, unsigned) = plant.push("unsigned");
    plant.instance.sign_as_build(OTHER, &unsigned, Services::Unlogged);

    let mut seen = Vec::new();
    // The public instance is not asked, and docs.rs runs the others.
    let is_here = |block: &&Block| block.tests.is_empty() && !block.text.contains("--with-default-services");
    for block in in_page(PAGE, &page).iter().filter(is_here) {
        if block.text.contains("portreeve") {
            plant.instance.stop();
        }
        let told = run(&mut shell(&plant, directory, block, &here(&block.text)), "");
        if block.text.contains("--trusted-root trusted-roots/plant.json --trust-ca") {
            assert!(told.stdout.contains("line-1"), "{told:?}");
            assert!(told.stdout.contains("trustedRoot: \"plant\"") && told.stdout.contains("build.yml"), "{told:?}");
        }
        let is_denied = block.text.contains("unsigned");
        assert_eq!(told.status, Some(i32::from(is_denied)), "{}: {told:?}", block.place());
        if is_denied {
            assert!(told.stdout.contains("no entry of a transparency log"), "{told:?}");
        }
        seen.push(is_denied);
    }
    assert_eq!(seen, [false, false, false, false, false, true, false]);
}

/// The messages of its table are those of the product.
#[test]
fn the_messages_of_the_page_are_those_that_are_printed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join(PAGE)).unwrap();
    let table = page.split_once("## When an image is denied").unwrap().1.split("\n## ").next().unwrap();
    let messages: Vec<_> = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let mut sources = String::new();
    for folder in ["verify/src", "verify/src/sigstore", "src/schemes/cosign", "src/schemes/image_signatures"] {
        let files = fs::read_dir(root.join(folder)).unwrap().map(|file| file.unwrap().path());
        for file in files.filter(|file| file.extension().is_some_and(|extension| extension == "rs")) {
            sources.push_str(&fs::read_to_string(file).unwrap());
        }
    }
    // A text over several lines is one, and names of values are not.
    let sources = sources.replace("\\\"", "\"").replace("{kind}", "log");
    let sources = sources.split("\\\n").map(str::trim_start).collect::<String>();
    let unknown: Vec<_> = messages.iter().filter(|message| !sources.contains(**message)).collect();
    assert!(messages.len() > 8 && unknown.is_empty(), "{unknown:?}");
}

/// One block in bash, with the programs that it names.
fn shell(plant: &Plant, directory: &Path, block: &Block, text: &str) -> Command {
    let cosign = plant.producers.program("cosign");
    let programs = Path::new(cosign.get_program()).parent().unwrap();
    let portreeve = executable();
    let mut command = Command::new("/bin/bash");
    command.env_clear().envs(cosign.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("PATH", format!("{}:/usr/bin:/bin", programs.display())).current_dir(directory).arg("-c");
    let portreeve = portreeve.get_program().display();
    command.arg(format!("set -eu\nportreeve() {{ '{portreeve}' \"$@\"; }}\n{text}")).arg(block.place());
    command
}
