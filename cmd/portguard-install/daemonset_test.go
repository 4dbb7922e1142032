// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"
)

const (
	there    = `{"metadata":{"name":"portguard"}}`
	going    = `{"metadata":{"name":"portguard","deletionTimestamp":"2026-01-01T00:00:00Z"}}`
	notFound = `{"kind":"Status","reason":"NotFound"}`
	denied   = `{"kind":"Status","reason":"Forbidden"}`
)

// An api answers a watch with events, each once it is sent, and a GET with what it is told.
type api struct {
	events chan string // "" ends the watch
	status int
	body   string
	space  string // of its namespace, "" if that may not be asked
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer secret" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	switch r.URL.RequestURI() {
	case "/apis/apps/v1/namespaces/kube-system/daemonsets?watch=true&fieldSelector=metadata.name%3Dportguard":
		w.WriteHeader(http.StatusOK)
		for e := range a.events {
			if e == "" {
				return
			}
			fmt.Fprintln(w, e)
			w.(http.Flusher).Flush()
		}
	case "/apis/apps/v1/namespaces/kube-system/daemonsets/portguard":
		w.WriteHeader(a.status)
		fmt.Fprintln(w, a.body)
	case "/api/v1/namespaces/kube-system":
		if a.space == "" {
			w.WriteHeader(http.StatusForbidden)
		}
		fmt.Fprintln(w, a.space)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// pod is what a pod has that may ask this server.
func pod(t *testing.T, s *httptest.Server) *daemonSet {
	t.Helper()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(u.Host)
	t.Setenv("KUBERNETES_SERVICE_HOST", host)
	t.Setenv("KUBERNETES_SERVICE_PORT", port)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"token": "secret\n", "namespace": "kube-system",
		"ca.crt": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d, err := newDaemonSet("portguard", dir)
	if err != nil {
		t.Fatal(err)
	}
	d.patience = time.Second / 2
	return d
}

// Only what the API server says for sure is a removal.
func TestRemoved(t *testing.T) {
	event := func(kind, object string) string { return fmt.Sprintf(`{"type":%q,"object":%s}`, kind, object) }
	added := event("ADDED", there)
	for name, tt := range map[string]struct {
		events []string
		status int
		body   string
		space  string
		want   bool
	}{
		"an upgrade":                        {[]string{added, event("MODIFIED", there)}, http.StatusOK, there, there, false},
		"deleted":                           {[]string{added}, http.StatusNotFound, notFound, there, true},
		"deleted in the foreground":         {[]string{added}, http.StatusOK, going, there, true},
		"deleted with its role":             {[]string{added, event("DELETED", there)}, http.StatusForbidden, denied, there, true},
		"the role goes first":               {[]string{added, event("MODIFIED", going)}, http.StatusUnauthorized, denied, there, true},
		"deleted and made again":            {[]string{added, event("DELETED", there), added}, http.StatusOK, there, there, false},
		"made again behind the watch":       {[]string{added, event("DELETED", there)}, http.StatusOK, there, there, false},
		"never seen":                        {nil, http.StatusNotFound, notFound, there, false},
		"no answer":                         {[]string{added}, http.StatusBadGateway, "", there, false},
		"an answer that is not Kubernetes'": {[]string{added}, http.StatusNotFound, "<html>", there, false},
		"its namespace is deleted":          {[]string{added}, http.StatusOK, there, going, true},
		"its namespace may not be asked":    {[]string{added}, http.StatusOK, there, "", false},
		"made again, and no more answers":   {[]string{added, event("DELETED", there)}, http.StatusOK, there, "", false},
		"the role is gone":                  {[]string{added}, http.StatusForbidden, denied, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			a := &api{make(chan string), tt.status, tt.body, tt.space}
			s := httptest.NewTLSServer(a)
			defer s.Close()
			d := pod(t, s)
			ended := make(chan error)
			go func() { ended <- d.watch(t.Context()) }()
			for _, e := range tt.events {
				a.events <- e
			}
			a.events <- ""
			if err := <-ended; err == nil {
				t.Error("the watch has no end")
			}
			if got := d.removed(); got != tt.want {
				t.Errorf("removed: %v, want %v", got, tt.want)
			}
		})
	}
}

// With a namespace the account goes, and then the DaemonSet: the watch goes on and says so.
func TestRemovedLater(t *testing.T) {
	a := &api{events: make(chan string), status: http.StatusUnauthorized, body: denied}
	s := httptest.NewTLSServer(a)
	defer s.Close()
	d := pod(t, s)
	d.patience = time.Minute
	go d.follow(t.Context())
	a.events <- `{"type":"ADDED","object":` + there + `}`
	for !d.seen.Load() {
		time.Sleep(time.Millisecond)
	}
	removed := make(chan bool)
	go func() { removed <- d.removed() }()
	select {
	case <-removed:
		t.Error("nobody has said that it is deleted")
	case <-time.After(time.Second):
	}
	a.events <- `{"type":"DELETED","object":` + there + `}`
	if !<-removed {
		t.Error("what the watch says is not believed")
	}
	close(a.events)
}

// An API server that is gone keeps nobody from his end.
func TestNoServer(t *testing.T) {
	a := &api{events: make(chan string, 2)}
	a.events <- `{"type":"ADDED","object":` + there + `}`
	a.events <- ""
	s := httptest.NewTLSServer(a)
	d := pod(t, s)
	_ = d.watch(t.Context())
	s.Close()
	start := time.Now()
	if d.removed() || time.Since(start) > time.Minute {
		t.Errorf("removed, or after %v", time.Since(start))
	}
	if !d.seen.Load() {
		t.Error("it was not seen")
	}
}

// One that takes connections and says nothing is asked again.
func TestMuteServer(t *testing.T) {
	s := httptest.NewTLSServer(http.NotFoundHandler())
	d := pod(t, s)
	s.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	d.server = "https://" + l.Addr().String()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	if err := d.watch(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("it was waited for: %v", err)
	}
}
