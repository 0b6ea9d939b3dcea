// Signs images as Notation does, and verifies with Notation's own verifier: a small program over the library notation-go,
// because the program `notation` is not to be had as a Go module. Built by tests/notation/build, never part of the product.
//
//	notation sign --key leaf.key --chain chain.pem [--format jws|cose] [--expiry 24h] [--metadata KEY=VALUE]
//	    [--tsa URL --tsa-root root.pem] [--plain-http] [--ca ca.pem] [--tag-schema] REGISTRY/REPOSITORY@DIGEST
//	notation verify --policy trustpolicy.json --config DIRECTORY [--plain-http] [--ca ca.pem] REGISTRY/REPOSITORY@DIGEST
//	notation judge --policy trustpolicy.json --config DIRECTORY
//
// `sign` pushes a signature and prints the image's descriptor. `verify` exits with 1 if no signature is good. `judge` reads one
// JSON object a line, {"reference":…, "format":"jws"|"cose", "descriptor":{…}, "envelope":"<base64>"}, and prints one line for
// each: "ok", or why the envelope is refused.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/notaryproject/notation-core-go/signature/cose"
	"github.com/notaryproject/notation-core-go/signature/jws"
	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/dir"
	notationregistry "github.com/notaryproject/notation-go/registry"
	"github.com/notaryproject/notation-go/signer"
	"github.com/notaryproject/notation-go/verifier"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/notaryproject/notation-go/verifier/truststore"
	"github.com/notaryproject/tspclient-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	gocose "github.com/veraison/go-cose"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// The values of an option that may be given several times.
type list []string

func (l *list) String() string         { return strings.Join(*l, ",") }
func (l *list) Set(value string) error { *l = append(*l, value); return nil }

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "notation:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) == 0 {
		return errors.New("sign, verify or judge")
	}
	switch arguments[0] {
	case "sign":
		return sign(arguments[1:])
	case "verify":
		return verify(arguments[1:])
	case "judge":
		return judge(arguments[1:])
	}
	return fmt.Errorf("unknown command %q", arguments[0])
}

// How a registry is reached.
type access struct {
	plainHTTP bool
	ca        string
	tagSchema bool
}

func (a *access) flags(flags *flag.FlagSet) {
	flags.BoolVar(&a.plainHTTP, "plain-http", false, "speak HTTP")
	flags.StringVar(&a.ca, "ca", "", "file with the CA of the registry")
	flags.BoolVar(&a.tagSchema, "tag-schema", false, "list signatures under a tag, as notation 1 does by default")
}

func (a *access) repository(reference string) (notationregistry.Repository, error) {
	repository, err := remote.NewRepository(reference)
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	if a.ca != "" {
		pool, err := pool(a.ca)
		if err != nil {
			return nil, err
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	repository.PlainHTTP = a.plainHTTP
	repository.Client = &auth.Client{Client: &http.Client{Transport: transport}}
	if a.tagSchema {
		if err := repository.SetReferrersCapability(false); err != nil {
			return nil, err
		}
	}
	return notationregistry.NewRepository(repository), nil
}

func pool(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: no certificate", file)
	}
	return pool, nil
}

func mediaType(format string) (string, error) {
	switch format {
	case "jws":
		return jws.MediaTypeEnvelope, nil
	case "cose":
		return cose.MediaTypeEnvelope, nil
	}
	return "", fmt.Errorf("unknown format %q", format)
}

func sign(arguments []string) error {
	flags := flag.NewFlagSet("sign", flag.ExitOnError)
	key := flags.String("key", "", "file with the leaf's key")
	chain := flags.String("chain", "", "file with the certificates, leaf first")
	format := flags.String("format", "jws", "jws or cose")
	expiry := flags.Duration("expiry", 0, "how long the signature is good")
	tsa := flags.String("tsa", "", "URL of a time stamp authority")
	tsaRoot := flags.String("tsa-root", "", "file with its root")
	var metadata list
	flags.Var(&metadata, "metadata", "KEY=VALUE, signed")
	var access access
	access.flags(flags)
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	reference := flags.Arg(0)
	made, err := signer.NewGenericSignerFromFiles(*key, *chain)
	if err != nil {
		return err
	}
	repository, err := access.repository(reference)
	if err != nil {
		return err
	}
	envelope, err := mediaType(*format)
	if err != nil {
		return err
	}
	options := notation.SignOptions{ArtifactReference: reference, UserMetadata: map[string]string{}}
	options.SignatureMediaType = envelope
	options.ExpiryDuration = *expiry
	for _, pair := range metadata {
		name, value, _ := strings.Cut(pair, "=")
		options.UserMetadata[name] = value
	}
	if *tsa != "" {
		if options.Timestamper, err = tspclient.NewHTTPTimestamper(nil, *tsa); err != nil {
			return err
		}
		if options.TSARootCAs, err = pool(*tsaRoot); err != nil {
			return err
		}
	}
	descriptor, err := notation.Sign(context.Background(), made, repository, options)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(descriptor)
}

// Notation's verifier under a trust policy, with the trust stores of a configuration directory.
func verifierOf(policy, config string) (notation.Verifier, error) {
	bytes, err := os.ReadFile(policy)
	if err != nil {
		return nil, err
	}
	var document trustpolicy.Document
	if err := json.Unmarshal(bytes, &document); err != nil {
		return nil, err
	}
	return verifier.New(&document, truststore.NewX509TrustStore(dir.NewSysFS(config)), nil)
}

func verify(arguments []string) error {
	flags := flag.NewFlagSet("verify", flag.ExitOnError)
	policy := flags.String("policy", "", "trustpolicy.json")
	config := flags.String("config", "", "directory with truststore/")
	var access access
	access.flags(flags)
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	by, err := verifierOf(*policy, *config)
	if err != nil {
		return err
	}
	repository, err := access.repository(flags.Arg(0))
	if err != nil {
		return err
	}
	options := notation.VerifyOptions{ArtifactReference: flags.Arg(0), MaxSignatureAttempts: 50}
	descriptor, _, err := notation.Verify(context.Background(), by, repository, options)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(descriptor)
}

// An envelope that is to be judged.
type question struct {
	Reference  string             `json:"reference"`
	Format     string             `json:"format"`
	Descriptor ocispec.Descriptor `json:"descriptor"`
	Envelope   []byte             `json:"envelope"`
}

func judge(arguments []string) error {
	flags := flag.NewFlagSet("judge", flag.ExitOnError)
	policy := flags.String("policy", "", "trustpolicy.json")
	config := flags.String("config", "", "directory with truststore/")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	by, err := verifierOf(*policy, *config)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 4<<20)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for lines.Scan() {
		var asked question
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			return err
		}
		fmt.Fprintln(out, answer(by, asked))
	}
	return lines.Err()
}

func answer(by notation.Verifier, asked question) (words string) {
	defer func() {
		if caught := recover(); caught != nil {
			words = "refused: it panicked"
		}
	}()
	envelope, err := mediaType(asked.Format)
	if err == nil {
		within, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		options := notation.VerifierVerifyOptions{ArtifactReference: asked.Reference, SignatureMediaType: envelope}
		_, err = by.Verify(within, asked.Descriptor, asked.Envelope, options)
	}
	if err != nil {
		return "refused: " + strings.ReplaceAll(err.Error()+unreadable(asked), "\n", " ")
	}
	return "ok"
}

// Why a certificate of the envelope cannot be read, which its verifier does not say.
func unreadable(asked question) string {
	var chain [][]byte
	if asked.Format == "jws" {
		var envelope struct {
			Header struct {
				Chain [][]byte `json:"x5c"`
			} `json:"header"`
		}
		if json.Unmarshal(asked.Envelope, &envelope) != nil {
			return ""
		}
		chain = envelope.Header.Chain
	} else {
		var envelope gocose.Sign1Message
		if envelope.UnmarshalCBOR(asked.Envelope) != nil {
			return ""
		}
		certificates, _ := envelope.Headers.Unprotected[gocose.HeaderLabelX5Chain].([]any)
		for _, certificate := range certificates {
			der, _ := certificate.([]byte)
			chain = append(chain, der)
		}
	}
	for _, der := range chain {
		if _, err := x509.ParseCertificate(der); err != nil {
			return " (" + err.Error() + ")"
		}
	}
	return ""
}
