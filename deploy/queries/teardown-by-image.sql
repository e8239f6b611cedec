-- How long teardowns take by image, in seconds: from the end of the last process to the release of the cgroup.
select
  coalesce(image, 'unknown') as image, runtime, count(*) as teardowns, count(distinct host) as nodes,
  percentile_cont(0.5) within group (order by teardown_us) / 1e6 as p50,
  percentile_cont(0.99) within group (order by teardown_us) / 1e6 as p99,
  max(teardown_us) / 1e6 as longest
from lives
where container is not null and teardown_us is not null
group by coalesce(image, 'unknown'), runtime
order by p99 desc, image, runtime
