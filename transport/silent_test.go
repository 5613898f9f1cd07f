package transport_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/transport"
	"github.com/volsnap/volsnap/transport/transporttest"
)

// A peer that keeps the connection alive, and does nothing else, is given up.
func TestSilentPeer(t *testing.T) {
	for name, ask := range map[string]func(context.Context, *transport.Client) error{
		"list": func(ctx context.Context, c *transport.Client) error {
			_, err := c.List(ctx, "ccn", true)
			return err
		},
		"receive": func(ctx context.Context, c *transport.Client) error {
			_, err := c.Receive(ctx, driver.ReceiveRequest{Snapshot: member(1, 1)}, bytes.NewReader(make([]byte, 1000)))
			return err
		},
		"receive without end": func(ctx context.Context, c *transport.Client) error {
			_, err := c.Receive(ctx, driver.ReceiveRequest{Snapshot: member(1, 1)}, neverending{})
			return err
		},
		"send": func(ctx context.Context, c *transport.Client) error {
			return c.Send(ctx, driver.SendRequest{Snapshot: member(1, 1)}, io.Discard)
		},
	} {
		t.Run(name, func(t *testing.T) {
			near, far := transporttest.Pair(t)
			go mute(far)
			c, err := transport.Open(near)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			c.SetPatience(100 * time.Millisecond)
			if err := ask(t.Context(), c); err == nil || !strings.Contains(err.Error(), "does nothing") {
				t.Error(err)
			}
		})
	}
}

// mute answers pings alone.
func mute(conn net.Conn) {
	go func() { _, _ = io.WriteString(conn, "VOLSNAP1") }()
	if _, err := io.ReadFull(conn, make([]byte, 8)); err != nil {
		return
	}
	config := yamux.DefaultConfig()
	config.LogOutput = io.Discard
	session, err := yamux.Server(conn, config)
	if err != nil {
		return
	}
	for {
		if _, err := session.AcceptStream(); err != nil {
			return
		}
	}
}
