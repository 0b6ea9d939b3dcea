//! The blocks that no test runs, and why.

/// The reason of blocks that build the product.
const BUILDS: &str = "it builds the product again, which .ci/run does";
/// The reason of blocks that need a registry under the name that is printed.
const NAMES: &str =
    "it needs servers under the names registry.local and notary.local; tests/integration has the same commands";
/// The reason of blocks that have a place for a value of the reader's own.
const PLACEHOLDERS: &str = "it has places for the reader's own values";
/// The reason of blocks that need signing services.
const SERVICES: &str =
    "tests/integration/keyless/page.rs runs it, with the addresses of real services in place of those here";
/// The reason of blocks that only a StarlingX system can run.
const STARLINGX: &str = "it needs a StarlingX system, or a node's container runtime";

/// Page, one line of the block, reason.
pub(super) const NOT_RUN: &[(&str, &str, &str)] = &[
    (
        "README.md",
        "tests/run                                  # every test; installs the Debian packages that it needs, if it can",
        BUILDS,
    ),
    ("README.md", "portreeve lint policies/", NAMES),
    ("docs/configuration.md", "portreeve serve --config portreeve.yaml", "it does not end; most tests run it"),
    ("docs/configuration.md", "cargo run --release -p certs-gen -- --out site/certs", BUILDS),
    ("docs/cosign.md", "cosign generate-key-pair", PLACEHOLDERS),
    ("docs/cosign.md", "portreeve lint policies/", NAMES),
    ("docs/cosign.md", "kubectl -n line-1 create secret generic release-pub --from-file=cosign.pub", NAMES),
    ("docs/cosign.md", "--key cosign.pub --trust-ca registry-ca.pem /media/stick", NAMES),
    (
        "docs/cosign.md",
        "portreeve check --policies policies/ --trust-ca registry-ca.pem registry.local:9001/portreeve/portreeve:0.1.0",
        NAMES,
    ),
    (
        "docs/commands.md",
        "kubectl -n portreeve create job review-now --from=cronjob/portreeve-review",
        "it needs a kubelet; cluster/reviewing.rs runs the Job as kubelet does",
    ),
    ("docs/commands.md", "kubectl set image --local -f deployment.yaml plc=\"$image\" -o yaml", NAMES),
    (
        "docs/doctor.md",
        "kubectl -n portreeve exec deploy/portreeve -- /portreeve doctor",
        "it needs a kubelet; tests/integration/doctor/pod.rs runs it as a pod does",
    ),
    (
        "docs/doctor.md",
        "kubectl -n portreeve exec \"$pod\" -- /portreeve doctor || true",
        "it needs a kubelet; tests/integration/doctor/pod.rs runs it as a pod does",
    ),
    (
        "docs/keyless.md",
        "image=registry.local:9001/plant/plc@$(crane digest registry.local:9001/plant/plc:v1)",
        SERVICES,
    ),
    ("docs/keyless.md", "curl -fsS https://tsa.plant.example/api/v1/timestamp/certchain >tsa.pem", SERVICES),
    ("docs/keyless.md", "cosign signing-config create \\", SERVICES),
    (
        "docs/keyless.md",
        "portreeve check --trusted-root trusted-roots/plant.json --trust-ca registry-ca.pem --namespace line-1 registry.local:9001/plant/plc:v1",
        SERVICES,
    ),
    (
        "docs/keyless.md",
        "portreeve export --image registry.local:9001/plant/plc:v1 --trusted-root trusted-roots/plant.json \\",
        SERVICES,
    ),
    ("docs/keyless.md", "portreeve lint policies/", SERVICES),
    (
        "docs/keyless.md",
        "portreeve check --config portreeve.yaml --policies policies/ --namespace line-1 registry.local:9001/plant/unsigned:v1",
        SERVICES,
    ),
    (
        "docs/keyless.md",
        "cosign trusted-root create --with-default-services --out trusted-roots/public.json",
        "it asks the public instance of Sigstore",
    ),
    ("docs/notation.md", "notation sign --key release registry.local:9001/plant/plc@sha256:…", PLACEHOLDERS),
    ("docs/notation.md", "portreeve lint policies/", NAMES),
    (
        "docs/notation.md",
        "portreeve check --config portreeve.yaml --trust-store ca:plant --namespace line-1 registry.local:9001/plant/plc:v1",
        NAMES,
    ),
    (
        "docs/notation.md",
        "portreeve export --config portreeve.yaml --image registry.local:9001/plant/plc:v1 --trust-store ca:plant /media/stick",
        NAMES,
    ),
    ("docs/gitops.md", "portreeve check --policies policies/ registry.local:9001/plant/plc:v1", NAMES),
    (
        "docs/gitops.md",
        "kubectl -n argocd patch application portreeve --type=merge --patch '{\"spec\":{\"syncPolicy\":{\"automated\":null}}}'",
        "it needs Flux or Argo CD",
    ),
    ("docs/helm.md", "certs-gen --out site/certs", "tests/integration/cluster/chart.rs runs helm"),
    (
        "docs/helm.md",
        "helm upgrade portreeve manifests/chart --namespace portreeve --reset-then-reuse-values &&",
        "tests/integration/cluster/chart.rs runs helm",
    ),
    (
        "docs/helm.md",
        "kubectl apply -f site/certs/secret.yaml",
        "tests/integration/manifests/chart.rs renders the chart with this value",
    ),
    ("docs/helm.md", "helm uninstall portreeve --namespace portreeve", "tests/integration/cluster/chart.rs runs helm"),
    (
        "docs/install.md",
        "kubectl -n portreeve exec deploy/portreeve -- /portreeve doctor",
        "it needs a kubelet; tests/integration/doctor/pod.rs runs it as a pod does",
    ),
    ("docs/install.md", "cargo build --release --locked -p portreeve -p certs-gen", BUILDS),
    (
        "docs/install.md",
        "sudo install -d -m 0700 /var/lib/portreeve       # on the node; once",
        "it changes the machine",
    ),
    ("docs/install-variants.md", "rustup target add x86_64-unknown-linux-musl", BUILDS),
    (
        "docs/install.md",
        "buildah push registry.local:9001/portreeve/portreeve:0.1.0",
        "it needs a container engine and a registry",
    ),
    (
        "docs/install-variants.md",
        "skopeo copy oci-archive:portreeve-0.1.0.tar:0.1.0 docker://registry.local:9001/portreeve/portreeve:0.1.0",
        NAMES,
    ),
    (
        "docs/migrating.md",
        "cosign generate-key-pair            # cosign.key stays with the person or the build that signs; cosign.pub goes into policies",
        "cosign asks for a password; tests/integration/cosign signs with keys",
    ),
    (
        "docs/migrating.md",
        "cosign signing-config create >no-services.json        # no transparency log and no time stamp",
        NAMES,
    ),
    (
        "docs/operations.md",
        "kubectl -n portreeve logs -l app.kubernetes.io/name=portreeve --tail=-1 |",
        "it needs jq and a kubelet that has logs",
    ),
    ("docs/performance.md", "cargo bench --bench serving -- soak --minutes 20", "benchmarks take hours"),
    ("docs/releases.md", "tools/release portreeve-release", "it installs packages; tests/release runs tools/release"),
    ("docs/releases.md", "(cd portreeve-release && sha256sum --check --strict SHA256SUMS)", "it needs a whole release"),
    ("docs/releases.md", "tools/release ../again", PLACEHOLDERS),
    (
        "docs/releases.md",
        "cosign sign-blob --yes --key cosign.key --signing-config no-services.json --bundle SHA256SUMS.sigstore.json SHA256SUMS",
        "it needs a whole release",
    ),
    (
        "docs/releases.md",
        "cosign verify-blob --key cosign.pub --private-infrastructure --bundle SHA256SUMS.sigstore.json SHA256SUMS",
        "it needs a whole release",
    ),
    (
        "docs/releases.md",
        "portreeve check --key cosign.pub --trust-ca site-ca.pem registry.local:9001/portreeve/portreeve:0.1.0",
        NAMES,
    ),
    (
        "docs/starlingx.md",
        "tools/starlingx-application portreeve-0.1.0.tgz",
        "tests/integration/manifests/chart.rs runs this tool",
    ),
    ("docs/starlingx.md", "system application-upload portreeve-0.1.0.tgz", STARLINGX),
    (
        "docs/starlingx.md",
        "system helm-override-update portreeve portreeve portreeve --set webHooks.when=always &&",
        STARLINGX,
    ),
    ("docs/starlingx.md", "system application-remove portreeve", STARLINGX),
    ("docs/starlingx.md", "docker login registry.local:9001 -u admin", STARLINGX),
    ("docs/trust-data.md", "portreeve check --reset registry.local:9001/plant/plc --cache /var/cache/portreeve", NAMES),
    (
        "docs/trust-data.md",
        "portreeve export --server https://notary.local:4443 --gun registry.local:9001/plant/plc --trust-ca ca.pem /media/stick",
        NAMES,
    ),
];
