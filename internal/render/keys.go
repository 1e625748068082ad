package render

// keys says which keys a mapping of a Compose file may have and what they hold.
// A nil value accepts whatever stands below it; "*" stands for any name.
// Extensions (x-…) are accepted everywhere.
type keys map[string]keys

// overrideKeys is everything in an override file that can be carried out: what
// is missing here would be dropped without a word, so it is refused.
func overrideKeys() keys {
	source := keys{"name": nil, "content": nil, "environment": nil, "file": nil}
	return keys{
		"version":  nil, // obsolete, Compose ignores it
		"services": {"*": serviceKeys()},
		"networks": {"*": {
			"name": nil, "external": nil, "driver": nil, "driver_opts": nil, "internal": nil, "enable_ipv6": nil, "labels": nil,
			"ipam": {"config": {"[]": {"subnet": nil}}},
		}},
		"volumes": {"*": {"name": nil, "external": nil, "driver": nil, "driver_opts": nil, "labels": nil}},
		"configs": {"*": source},
		"secrets": {"*": source},
	}
}

func serviceKeys() keys {
	file := keys{"[]": {"source": nil, "target": nil, "uid": nil, "gid": nil, "mode": nil}}
	return keys{
		"cap_add": nil, "cap_drop": nil, "command": nil, "configs": file, "container_name": nil, "cpus": nil,
		"depends_on": nil,
		"deploy": {"resources": {
			"limits":       {"cpus": nil, "memory": nil, "pids": nil},
			"reservations": {"memory": nil},
		}},
		"devices": nil, "dns": nil, "dns_opt": nil, "dns_search": nil, "entrypoint": nil, "env_file": nil,
		"environment": nil, "expose": nil, "extra_hosts": nil, "group_add": nil,
		"healthcheck": {
			"test": nil, "interval": nil, "timeout": nil, "retries": nil, "start_period": nil, "start_interval": nil, "disable": nil,
		},
		"hostname": nil, "image": nil, "init": nil, "labels": nil,
		"logging":   {"driver": nil, "options": nil},
		"mem_limit": nil, "mem_reservation": nil, "network_mode": nil,
		"networks":      {"*": {"aliases": nil, "ipv4_address": nil, "priority": nil}},
		"oom_score_adj": nil, "pids_limit": nil, "platform": nil,
		"ports":      {"[]": {"target": nil, "published": nil, "host_ip": nil, "protocol": nil, "mode": nil, "name": nil}},
		"privileged": nil, "read_only": nil, "restart": nil, "secrets": file, "security_opt": nil, "shm_size": nil,
		"stop_grace_period": nil, "stop_signal": nil, "sysctls": nil, "tmpfs": nil, "tty": nil,
		"ulimits": nil, "user": nil,
		"volumes": {"[]": {
			"type": nil, "source": nil, "target": nil, "read_only": nil,
			"bind":   {"create_host_path": nil, "selinux": nil, "propagation": nil},
			"volume": {"nocopy": nil},
			"tmpfs":  {"size": nil, "mode": nil},
		}},
		"working_dir": nil,
	}
}

// hints says for keys that people do use what to do instead.
func hints() map[string]string {
	return map[string]string{
		"build":       "build the image and name it with image",
		"extends":     "write the keys out in the override file",
		"include":     "write the services out in the override file",
		"links":       "use networks with aliases",
		"name":        "the project's name is COMPOSE_PROJECT_NAME in .env",
		"profiles":    "leave the service out, or run it in a project of its own",
		"pull_policy": "remove it; mqtunnel pulls what is missing",
		"replicas":    "remove it; each service has one container",
		"scale":       "remove it; each service has one container",
		"pid":         "run that service in a project of its own",
	}
}
