package config

import (
	"strings"
)

// step reads a map with one key, the kind of step, and returns the place of what stands under it.
func step(v value) (Step, value) {
	kinds := []string{"postgres", "exec", "pause"}
	f := v.fields(kinds...)
	if f.ok && len(f.vals) != 1 && (len(f.vals) > 0 || len(v.pairs) == 0) {
		v.fail("want exactly one of postgres, exec and pause, each in a step of its own")
		return nil, v
	}
	for kind, val := range f.vals {
		switch kind {
		case "postgres":
			return postgres(val), val
		case "exec":
			return execute(val), val
		case "pause":
			return pause(val), val
		}
	}
	return nil, v
}

func postgres(v value) Step {
	f := v.fields("container", "user", "database", "timeout")
	s := Postgres{Container: inside(f), User: DefaultPostgresUser}
	if user, ok := f.get("user"); ok {
		s.User, _ = user.name("a PostgreSQL user", "postgres", postgresPattern, maxRole)
	}
	s.Database = s.User
	if db, ok := f.get("database"); ok {
		s.Database, _ = db.name("a PostgreSQL database", "postgres", postgresPattern, maxRole)
	}
	s.Timeout = f.span("timeout", DefaultPostgresTimeout, leastTimeout, mostTimeout)
	return s
}

func execute(v value) Step {
	f := v.fields("container", "freeze", "thaw", "timeout")
	s := Exec{Container: inside(f), Timeout: f.span("timeout", DefaultExecTimeout, leastTimeout, mostTimeout)}
	if freeze, ok := f.get("freeze"); ok {
		s.Freeze = freeze.command()
		if freeze.kind == list && len(freeze.items) == 0 {
			freeze.fail("is empty: want the command as a list such as [redis-cli, save]")
		}
	} else if f.ok {
		f.of.at("freeze").fail("is missing: want the command as a list such as [redis-cli, save]")
	}
	if thaw, ok := f.get("thaw"); ok {
		s.Thaw = thaw.command()
	}
	return s
}

func pause(v value) Step {
	var s Pause
	if v.kind == none {
		v.fail("is empty: write pause: {} for all writers, or pause: {containers: [...]}")
		return nil
	}
	f := v.fields("containers")
	if containers, ok := f.get("containers"); ok {
		s.Containers = containers.names("[myapp-web-1]", value.container)
		if containers.kind == list && len(containers.items) == 0 {
			containers.fail("is empty: leave the key out for all writers")
		}
		if len(s.Containers) == 0 {
			return nil // reported; it must not be taken for a pause of all writers
		}
	}
	return s
}

func inside(f fields) string {
	if v, ok := f.get("container"); ok {
		name, _ := v.container()
		return name
	}
	if f.ok {
		f.of.at("container").fail("is missing: want the name of the container")
	}
	return ""
}

// command is a program and its arguments. Arguments may be empty and may hold line breaks and tabs; the program may not.
func (v value) command() []string {
	var args []string
	program := true
	v.each("[redis-cli, save]", func(item value) {
		first := program
		program = false
		switch {
		case !item.want(text, "save"):
		case first && strings.TrimSpace(item.text) == "":
			item.fail("the program is empty")
		case first && (strings.HasPrefix(item.text, "-") || strings.ContainsFunc(item.text, isControl)):
			item.fail("%s is no program", quote(item.text))
		case len(item.text) >= maxArgument:
			item.fail("the argument is longer than %d bytes", maxArgument)
		case strings.ContainsFunc(strings.NewReplacer("\n", "", "\t", "").Replace(item.text), isControl):
			item.fail("%s contains an unprintable character", quote(item.text))
		default:
			args = append(args, item.text)
		}
	})
	return args
}
