-- Quotas of what objects hold, counted like the objects themselves.

INSERT INTO project_usage SELECT project_id, 'routing_prefixes', sum(prefixes) FROM (
    SELECT project_id, json_array_length(prefix_filter_in) + json_array_length(prefix_filter_out) AS prefixes FROM routing_policy
    UNION ALL
    SELECT project_id, json_array_length(prefix_filter_in) + json_array_length(prefix_filter_out) FROM link_routing_policy
) GROUP BY project_id;

CREATE TRIGGER routing_policy_measured AFTER INSERT ON routing_policy BEGIN
    INSERT INTO project_usage VALUES (NEW.project_id, 'routing_prefixes', json_array_length(NEW.prefix_filter_in) + json_array_length(NEW.prefix_filter_out))
    ON CONFLICT DO UPDATE SET used = used + excluded.used;
END;
CREATE TRIGGER routing_policy_remeasured AFTER UPDATE OF prefix_filter_in, prefix_filter_out ON routing_policy BEGIN
    UPDATE project_usage SET used = used
        + json_array_length(NEW.prefix_filter_in) + json_array_length(NEW.prefix_filter_out)
        - json_array_length(OLD.prefix_filter_in) - json_array_length(OLD.prefix_filter_out)
    WHERE project_id = NEW.project_id AND resource = 'routing_prefixes';
END;
CREATE TRIGGER routing_policy_unmeasured AFTER DELETE ON routing_policy BEGIN
    UPDATE project_usage SET used = used - json_array_length(OLD.prefix_filter_in) - json_array_length(OLD.prefix_filter_out)
    WHERE project_id = OLD.project_id AND resource = 'routing_prefixes';
END;
CREATE TRIGGER link_routing_policy_measured AFTER INSERT ON link_routing_policy BEGIN
    INSERT INTO project_usage VALUES (NEW.project_id, 'routing_prefixes', json_array_length(NEW.prefix_filter_in) + json_array_length(NEW.prefix_filter_out))
    ON CONFLICT DO UPDATE SET used = used + excluded.used;
END;
CREATE TRIGGER link_routing_policy_remeasured AFTER UPDATE OF prefix_filter_in, prefix_filter_out ON link_routing_policy BEGIN
    UPDATE project_usage SET used = used
        + json_array_length(NEW.prefix_filter_in) + json_array_length(NEW.prefix_filter_out)
        - json_array_length(OLD.prefix_filter_in) - json_array_length(OLD.prefix_filter_out)
    WHERE project_id = NEW.project_id AND resource = 'routing_prefixes';
END;
CREATE TRIGGER link_routing_policy_unmeasured AFTER DELETE ON link_routing_policy BEGIN
    UPDATE project_usage SET used = used - json_array_length(OLD.prefix_filter_in) - json_array_length(OLD.prefix_filter_out)
    WHERE project_id = OLD.project_id AND resource = 'routing_prefixes';
END;

INSERT INTO project_usage SELECT project_id, 'secret_octets', sum(length(data)) FROM secret JOIN secret_version ON secret_id = id
WHERE data IS NOT NULL GROUP BY project_id;

CREATE TRIGGER secret_version_measured AFTER INSERT ON secret_version WHEN NEW.data IS NOT NULL BEGIN
    INSERT INTO project_usage SELECT project_id, 'secret_octets', length(NEW.data) FROM secret WHERE id = NEW.secret_id
    ON CONFLICT DO UPDATE SET used = used + excluded.used;
END;
CREATE TRIGGER secret_version_remeasured AFTER UPDATE OF data ON secret_version BEGIN
    UPDATE project_usage SET used = used + coalesce(length(NEW.data), 0) - coalesce(length(OLD.data), 0)
    WHERE resource = 'secret_octets' AND project_id = (SELECT project_id FROM secret WHERE id = NEW.secret_id);
END;
-- Versions go with their secret only, when it can no longer be asked whose they were.
CREATE TRIGGER secret_unmeasured BEFORE DELETE ON secret BEGIN
    UPDATE project_usage SET used = used - (SELECT coalesce(sum(length(data)), 0) FROM secret_version WHERE secret_id = OLD.id)
    WHERE project_id = OLD.project_id AND resource = 'secret_octets';
END;
