// What a Go service does with go-spiffe: it follows its identity and talks mutual TLS. The test drives it by lines on
// standard input and reads one JSON document a line; it ends when standard input does.
package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc/status"
)

const patience = 30 * time.Second

type document = map[string]any

var output sync.Mutex

func say(d document) {
	output.Lock()
	defer output.Unlock()
	if err := json.NewEncoder(os.Stdout).Encode(d); err != nil {
		os.Exit(1)
	}
}

func failed(err error) document {
	return document{"event": "error", "code": status.Code(err).String(), "error": err.Error()}
}

func main() {
	self := flag.String("self", "", "the SPIFFE ID to be, where there are several")
	peer := flag.String("peer", "", "the SPIFFE ID to talk to")
	flag.Parse()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var err error
	switch mode := flag.Arg(0); mode {
	case "fetch":
		err = fetch(ctx)
	case "bundles":
		err = bundles(ctx)
	case "watch", "serve", "dial":
		err = withSource(ctx, mode, *self, *peer)
	default:
		err = fmt.Errorf("no such mode: %q", mode)
	}
	if err != nil {
		say(failed(err))
		os.Exit(1)
	}
}

// fetch asks once, without a source's retries.
func fetch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	x509Context, err := workloadapi.FetchX509Context(ctx)
	if err != nil {
		return err
	}
	svids := []document{}
	for _, svid := range x509Context.SVIDs {
		svids = append(svids, document{"id": svid.ID.String(), "hint": svid.Hint})
	}
	say(document{"event": "context", "svids": svids})
	return nil
}

// bundles watches FetchX509Bundles.
func bundles(ctx context.Context) error {
	client, err := workloadapi.New(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	watched, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	err = client.WatchX509Bundles(watched, bundleWatcher{})
	if watched.Err() != nil {
		return nil
	}
	return err
}

type bundleWatcher struct{}

func (bundleWatcher) OnX509BundlesUpdate(set *x509bundle.Set) {
	found := document{}
	for _, bundle := range set.Bundles() {
		digests := []string{}
		for _, authority := range bundle.X509Authorities() {
			digest := sha256.Sum256(authority.Raw)
			digests = append(digests, hex.EncodeToString(digest[:]))
		}
		found[bundle.TrustDomain().String()] = digests
	}
	say(document{"event": "bundles", "bundles": found})
}

func (bundleWatcher) OnX509BundlesWatchError(err error) { say(failed(err)) }

func withSource(ctx context.Context, mode, self, peer string) error {
	begin, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var kept *x509svid.SVID // as go-spiffe itself keeps what it had, where there is nothing any more
	source, err := workloadapi.NewX509Source(begin, workloadapi.WithDefaultX509SVIDPicker(
		func(svids []*x509svid.SVID) *x509svid.SVID {
			for _, svid := range svids {
				if self == "" || svid.ID.String() == self {
					kept = svid
					break
				}
			}
			return kept
		}))
	if err != nil {
		return err
	}
	defer source.Close()
	switch mode {
	case "watch":
		return watch(ctx, source)
	case "serve":
		return serve(source, peer)
	default:
		return dial(ctx, source, peer)
	}
}

// watch says each certificate that go-spiffe has verified against the bundles that came with it.
func watch(ctx context.Context, source *workloadapi.X509Source) error {
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	for {
		svid, err := source.GetX509SVID()
		if err != nil {
			return err
		}
		id, chains, err := x509svid.Verify(svid.Certificates, source)
		if err != nil {
			return err
		}
		say(document{
			"event": "svid", "id": id.String(), "serial": hex.EncodeToString(svid.Certificates[0].SerialNumber.Bytes()),
			"certificates": len(svid.Certificates), "verified": len(chains[0]),
		})
		select {
		case <-source.Updated():
		case <-ended:
			return nil
		}
	}
}

// serve says back each line, after the caller's ID.
func serve(source *workloadapi.X509Source, peer string) error {
	allowed, err := spiffeid.FromString(peer)
	if err != nil {
		return err
	}
	config := tlsconfig.MTLSServerConfig(source, source, tlsconfig.AuthorizeID(allowed))
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		listener.Close()
	}()
	say(document{"event": "listening", "port": listener.Addr().(*net.TCPAddr).Port})
	for {
		connection, err := listener.Accept()
		if err != nil {
			return nil
		}
		go answer(connection.(*tls.Conn))
	}
}

func answer(connection *tls.Conn) {
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(patience))
	if err := connection.Handshake(); err != nil {
		say(failed(err))
		return
	}
	state := connection.ConnectionState()
	id, err := x509svid.IDFromCert(state.PeerCertificates[0])
	if err != nil {
		say(failed(err))
		return
	}
	lines := bufio.NewScanner(connection)
	for lines.Scan() {
		fmt.Fprintf(connection, "%s %s\n", id, lines.Text())
	}
}

// dial connects to the address on each line of standard input and says what it was answered.
func dial(ctx context.Context, source *workloadapi.X509Source, peer string) error {
	wanted, err := spiffeid.FromString(peer)
	if err != nil {
		return err
	}
	dialer := tls.Dialer{Config: tlsconfig.MTLSClientConfig(source, source, tlsconfig.AuthorizeID(wanted))}
	say(document{"event": "ready"})
	addresses := bufio.NewScanner(os.Stdin)
	for addresses.Scan() {
		answered, err := ask(ctx, &dialer, addresses.Text())
		if err != nil {
			say(failed(err))
		} else {
			say(answered)
		}
	}
	return nil
}

func ask(ctx context.Context, dialer *tls.Dialer, address string) (document, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	made, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	connection := made.(*tls.Conn)
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(patience))
	fmt.Fprintln(connection, "hello")
	line, err := bufio.NewReader(connection).ReadString('\n')
	if err != nil {
		return nil, err
	}
	presented := connection.ConnectionState().PeerCertificates
	return document{
		"event": "answer", "line": line, "serial": hex.EncodeToString(presented[0].SerialNumber.Bytes()),
		"certificates": len(presented),
	}, nil
}
