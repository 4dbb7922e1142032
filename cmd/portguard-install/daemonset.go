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
	client       *http.Client

	seen    atomic.Bool // it was there once
	deleted atomic.Bool
}

// newDaemonSet is that of a name in the namespace of this pod.
func newDaemonSet(name, account string) (*daemonSet, error) {
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	ca, err := os.ReadFile(filepath.Join(account, "ca.crt"))
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
	return &daemonSet{server: "https://" + net.JoinHostPort(host, port), name: name, account: account, client: &http.Client{Transport: transport}}, nil
}

// An object is what is read of one.
type object struct {
	Metadata struct {
		DeletionTimestamp string `json:"deletionTimestamp"`
	} `json:"metadata"`
}

// follow learns of the DaemonSet's end when that comes, until ctx is done. A watch outlives
// the role by which it was let in, which may be deleted with the DaemonSet.
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
		case <-time.After(patience):
		}
	}
}

// watch returns when the API server ends the watch, as it does now and then.
func (d *daemonSet) watch(ctx context.Context) error {
	r, err := d.get(ctx, "?watch=true&fieldSelector="+url.QueryEscape("metadata.name="+d.name))
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
			d.is(e.Type == "DELETED" || e.Object.Metadata.DeletionTimestamp != "")
		default:
			return fmt.Errorf("the watch says %s", e.Type)
		}
	}
}

func (d *daemonSet) is(deleted bool) {
	d.deleted.Store(deleted)
	d.seen.Store(true)
}

// removed reports whether the DaemonSet is deleted for sure.
func (d *daemonSet) removed() bool {
	if !d.seen.Load() {
		return false
	}
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	if r, err := d.get(ctx, "/"+d.name); err == nil {
		defer func() { _ = r.Body.Close() }()
		var o object
		if json.NewDecoder(r.Body).Decode(&o) == nil {
			d.is(o.Metadata.DeletionTimestamp != "")
		}
	} else if errors.Is(err, errNone) {
		d.is(true)
	}
	return d.deleted.Load()
}

// errNone means that there is no such DaemonSet.
var errNone = errors.New("there is none")

// get asks for something below the DaemonSets of this namespace.
func (d *daemonSet) get(ctx context.Context, what string) (*http.Response, error) {
	namespace, err1 := os.ReadFile(filepath.Join(d.account, "namespace"))
	token, err2 := os.ReadFile(filepath.Join(d.account, "token")) // it is renewed
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, d.server+"/apis/apps/v1/namespaces/"+string(namespace)+"/daemonsets"+what, nil)
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
