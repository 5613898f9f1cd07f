package config

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"syscall"
)

// Load reads and parses a file. What is wrong inside it is reported as Problems; other errors mean that it could not be read.
func Load(path string) (*Config, error) {
	data, err := read(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return Parse(path, data)
}

func read(path string) ([]byte, error) {
	// Without O_NONBLOCK, opening a named pipe would wait for somebody to write to it; see open(2).
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // nothing was written
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	return io.ReadAll(io.LimitReader(f, maxSize+1))
}

// Parse parses the contents of a file; name is what problems call it. Every error is of type Problems.
func Parse(name string, data []byte) (*Config, error) {
	r := &report{file: name}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	root := r.tree(data)
	var c *Config
	if len(r.problems) == 0 {
		c = decode(value{node: root, report: r})
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	return c, nil
}

func decode(v value) *Config {
	f := v.fields("version", "state_dir", "run_dir", "metrics", "apps", "targets")
	c := &Config{
		Version:  version(f),
		StateDir: f.path("state_dir", DefaultStateDir),
		RunDir:   f.path("run_dir", DefaultRunDir),
		Metrics:  f.path("metrics", ""),
	}
	distinctPlaces(f, c)
	var names []string
	if list, ok := f.get("targets"); ok {
		c.Targets = targets(list)
		for _, t := range c.Targets {
			names = append(names, t.Name)
		}
	}
	if list, ok := f.get("apps"); ok {
		c.Apps = apps(list, names)
	} else if f.ok {
		v.at("apps").fail("is missing: at least one app is needed")
	}
	return c
}

func version(f fields) int {
	v, ok := f.get("version")
	switch {
	case !ok && f.ok:
		f.of.at("version").fail("is missing: write version: 1")
	case ok && (v.kind != number || v.text != "1"):
		v.fail("want the number 1, the only version that this volsnap reads; got %s", v.node)
	}
	return 1
}

func distinctPlaces(f fields, c *Config) {
	if c.StateDir == c.RunDir {
		f.first("run_dir", "state_dir").fail("state_dir and run_dir are the same directory %q: give each its own", c.RunDir)
	}
	if c.Metrics != "" && (c.Metrics == c.StateDir || c.Metrics == c.RunDir) {
		f.first("metrics").fail("%q is a directory of volsnap's own: name a file", c.Metrics)
	}
}
