// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

// account is where the kubelet puts what a pod needs to ask the API.
const account = "/var/run/secrets/kubernetes.io/serviceaccount"

// patience is how long a question to the API may take that somebody waits for.
const patience = 5 * time.Second

// A daemonSet is the one that this pod belongs to. To a pod its end looks the same when it is
// upgraded and when its DaemonSet is deleted; the API knows which it is.
type daemonSet struct {
	server, name string
	account      string
	space        string // its namespace
	client       *http.Client
	patience     time.Duration

	seen    atomic.Bool // it was there once
	deleted atomic.Bool
}

// newDaemonSet is that of a name in the namespace of this pod.
func newDaemonSet(name, account string) (*daemonSet, error) {
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	ca, err1 := os.ReadFile(filepath.Join(account, "ca.crt"))
	space, err2 := os.ReadFile(filepath.Join(account, "namespace"))
	err := errors.Join(err1, err2)
	roots := x509.NewCertPool()
	if err == nil && (host == "" || !roots.AppendCertsFromPEM(ca)) {
		err = errors.New("this is no pod that may ask the API")
	}
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		DialContext:     (&net.Dialer{Timeout: patience}).DialContext, TLSHandshakeTimeout: patience, ResponseHeaderTimeout: patience,
	}
	return &daemonSet{
		server: "https://" + net.JoinHostPort(host, port), name: name, account: account, space: string(space),
		client: &http.Client{Transport: transport}, patience: patience,
	}, nil
}

// sets is the path of the DaemonSets among which this one is.
func (d *daemonSet) sets() string { return "/apis/apps/v1/namespaces/" + d.space + "/daemonsets" }

// An object is what is read of one.
type object struct {
	Metadata struct {
		DeletionTimestamp string `json:"deletionTimestamp"`
	} `json:"metadata"`
}

func (o object) goes() bool { return o.Metadata.DeletionTimestamp != "" }

// follow learns of the DaemonSet's end when that comes, until ctx is done. A watch outlives
// the role and the account by which it was let in, which may be deleted with the DaemonSet.
func (d *daemonSet) follow(ctx context.Context) {
	said := ""
	for ctx.Err() == nil {
		err := d.watch(ctx)
		if err.Error() != said && ctx.Err() == nil && !d.seen.Load() {
			said = err.Error()
			say("whether DaemonSet %s is deleted cannot be asked, so portguard would stay then: %v", d.name, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(d.patience):
		}
	}
}

// watch returns when the API server ends the watch, as it does now and then.
func (d *daemonSet) watch(ctx context.Context) error {
	r, err := d.get(ctx, d.sets()+"?watch=true&fieldSelector="+url.QueryEscape("metadata.name="+d.name))
	if err != nil {
		return err
	}
	defer func() { _ = r.Body.Close() }()
	for events := json.NewDecoder(r.Body); ; {
		var e struct {
			Type   string `json:"type"`
			Object object `json:"object"`
		}
		if err := events.Decode(&e); err != nil {
			return err
		}
		switch e.Type {
		case "ADDED", "MODIFIED", "DELETED":
			d.is(e.Type == "DELETED" || e.Object.goes())
		default:
			return fmt.Errorf("the watch says %s", e.Type)
		}
	}
}

func (d *daemonSet) is(deleted bool) {
	d.deleted.Store(deleted)
	d.seen.Store(true)
}

// removed reports whether the DaemonSet is deleted for sure. Where the API server does not
// answer, the watch may still say so: with a namespace the account goes by which it is asked.
func (d *daemonSet) removed() bool {
	if !d.seen.Load() {
		return false
	}
	ctx, stop := context.WithTimeout(context.Background(), d.patience)
	defer stop()
	if goes, err := d.goes(ctx); err == nil {
		return goes
	}
	for !d.deleted.Load() && ctx.Err() == nil {
		time.Sleep(d.patience / 50)
	}
	return d.deleted.Load()
}

// goes asks whether the DaemonSet is deleted, or its namespace is, with all that is in it. No
// namespace comes back from that; since Kubernetes 1.33 its pods go first, the DaemonSet later.
func (d *daemonSet) goes(ctx context.Context) (bool, error) {
	set, err := d.read(ctx, d.sets()+"/"+d.name)
	switch {
	case errors.Is(err, errNone):
		return true, nil
	case err != nil:
		return false, err
	}
	d.is(set.goes())
	if set.goes() {
		return true, nil
	}
	space, err := d.read(ctx, "/api/v1/namespaces/"+d.space)
	return space.goes(), err
}

func (d *daemonSet) read(ctx context.Context, path string) (o object, err error) {
	r, err := d.get(ctx, path)
	if err != nil {
		return o, err
	}
	defer func() { _ = r.Body.Close() }()
	err = json.NewDecoder(r.Body).Decode(&o)
	return o, err
}

// errNone means that there is no such DaemonSet.
var errNone = errors.New("there is none")

// get asks for what is at a path.
func (d *daemonSet) get(ctx context.Context, path string) (*http.Response, error) {
	token, err := os.ReadFile(filepath.Join(d.account, "token")) // it is renewed
	if err != nil {
		return nil, err
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, d.server+path, nil)
	if err != nil {
		return nil, err
	}
	q.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	r, err := d.client.Do(q)
	if err != nil {
		return nil, err
	}
	if r.StatusCode == http.StatusOK {
		return r, nil
	}
	defer func() { _ = r.Body.Close() }()
	var status struct {
		Reason string `json:"reason"`
	}
	_ = json.NewDecoder(r.Body).Decode(&status) // what is no answer of Kubernetes has no reason
	if status.Reason == "NotFound" {
		return nil, errNone
	}
	return nil, fmt.Errorf("the API server says %s", r.Status)
}
