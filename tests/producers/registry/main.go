// An image registry in memory, over TLS and with the referrers API, which Debian's docker-registry does not have.
package main

import (
	"flag"
	"log"
	"net/http"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:5000", "address to listen at")
	certificate := flag.String("cert", "", "file with the certificate chain")
	key := flag.String("key", "", "file with the key")
	flag.Parse()
	log.Fatal(http.ListenAndServeTLS(*listen, *certificate, *key, registry.New(registry.WithReferrersSupport(true))))
}
