package docker_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/internal/testhost"
)

// host is an engine and a client of it.
type host struct {
	*testhost.Engine
	*docker.Client
}

func start(t *testing.T, flags ...string) host {
	t.Helper()
	e := testhost.StartEngine(t, "", flags...)
	return host{e, client(t, e.Host)}
}

func client(t *testing.T, address string) *docker.Client {
	t.Helper()
	c, err := docker.New(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// within is a context for calls that should not take long.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// answers is an engine that says the same to every call but a ping: what a real one cannot be brought to say at will.
func answers(t *testing.T, status int, body string) *docker.Client {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/_ping" {
			w.Header().Set("API-Version", "1.41")
			return
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	})}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		_ = s.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return client(t, "unix://"+socket)
}

// until asks again and again for what happens by itself.
func until(t *testing.T, what string, ask func() bool) {
	t.Helper()
	ctx := within(t, 10*time.Second)
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for !ask() {
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain until %s", what)
		}
	}
}
