// Package docker speaks to the Docker engine of this host: what runs, where volumes lie, pause, exec, events.
//
// It is the only importer of github.com/docker/docker, whose successor is another module, and it gives its callers plain
// values and its own errors instead. It decides nothing: which containers matter is package inventory's business, and
// when they are paused that of quiesce.
//
// # Errors
//
// Each error names the object and wraps one of the sentinels in errors.go where the engine's answer is known. The engine
// tells most conditions apart by text only; each text was provoked on a real engine by a test.
//
// # Only this host
//
// Volumes are snapshotted through their host paths, so the engine has to be here: New accepts Unix sockets alone.
package docker

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/docker/docker/client"
)

const (
	defaultHost = "unix:///var/run/docker.sock"
	dialLimit   = 2 * time.Second // a local socket answers at once, or its backlog is full
	parallel    = 8               // calls at once, where one call of ours makes many
)

// Client is safe for concurrent use. Calls end with their context; an engine that does not answer is the caller's to
// bound. Close it to let go of idle connections.
type Client struct {
	host string
	api  *client.Client
}

// New makes a client of the engine at host, "unix:///path". An empty host is $DOCKER_HOST, or without it the usual socket.
// It does not connect.
func New(host string) (*Client, error) {
	if host == "" {
		host = os.Getenv("DOCKER_HOST")
	}
	if host == "" {
		host = defaultHost
	}
	socket, ok := strings.CutPrefix(host, "unix://")
	if !ok || !strings.HasPrefix(socket, "/") {
		return nil, fmt.Errorf("docker host %q: want unix:///path/to/docker.sock: the engine has to run on this host", host)
	}
	api, err := client.NewClientWithOpts(
		client.WithHTTPClient(&http.Client{
			Transport:     &http.Transport{MaxIdleConns: 2 * parallel, MaxIdleConnsPerHost: 2 * parallel, IdleConnTimeout: time.Minute},
			CheckRedirect: client.CheckRedirect,
		}),
		client.WithHost(host),
		client.WithDialContext(dial(socket)),
		client.WithAPIVersionNegotiation(),
	)
	if err != nil {
		return nil, fmt.Errorf("docker host %q: %w", host, err)
	}
	return &Client{host: host, api: api}, nil
}

// dialedKey is for a func(net.Conn) in a context, which gets a connection that was dialed under it. See Exec.
type dialedKey struct{}

func dial(socket string) func(context.Context, string, string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialLimit}
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := d.DialContext(ctx, "unix", socket)
		if dialed, ok := ctx.Value(dialedKey{}).(func(net.Conn)); ok && err == nil {
			dialed(conn)
		}
		return conn, err
	}
}

// Host is the engine's address as New took it.
func (c *Client) Host() string { return c.host }

// Close closes idle connections.
func (c *Client) Close() error { return c.api.Close() }

// Ping asks the engine for a sign of life. ErrUnavailable: there is none.
func (c *Client) Ping(ctx context.Context) error {
	_, err := c.api.Ping(ctx)
	return wrap("reach docker at "+c.host, err)
}

// DataRoot is the engine's data directory on this host.
func (c *Client) DataRoot(ctx context.Context) (string, error) {
	info, err := c.api.Info(ctx)
	return info.DockerRootDir, wrap("ask for the data directory", err)
}
