# Sidekiq, the real one: its client and its API in this process, a `sidekiq` process for each take.
# How a test talks to it: protocol.py.
#
# The keys it was seen to write (6.4.1):
#   enqueue    set `queues` {Q}; LPUSH list `queue:Q`: JSON with `created_at`, `enqueued_at`, both float seconds
#   perform_in zset `schedule`: the same JSON, with `queue` and no `enqueued_at`; score = due, float seconds
#   start      set `processes` {host:pid:nonce}; hash of that name, TTL 60 s: `info` (JSON: `concurrency`, `queues`),
#              `busy`, `beat`, `quiet` ("true"/"false"), `rss`, `rtt_us`
#   take       BRPOP, and the job is nowhere, until the heartbeat, every 5 s, writes `busy`, and hash
#              `<host:pid:nonce>:workers` thread -> JSON {queue, payload, run_at (seconds)}, TTL 60 s; no key when idle
#   finish     nothing, until the next heartbeat; strings `stat:processed`, `stat:processed:<day>`
# A busy worker promotes no due jobs for its first 10 to 15 s, and a quiet one none at all.

require "json"
require "open3"
require "rbconfig"
require "timeout"
require "tmpdir"

PATIENCE_S = 30
# The driver is started with an argument; a `sidekiq` process of its loads this file and gets it from there.
GIVEN = JSON.parse(ENV["TIDEGATE_DRIVER"] ||= ARGV.fetch(0))

require "sidekiq"
require "sidekiq/api"

server = { url: "redis://127.0.0.1:#{GIVEN["port"]}/#{GIVEN.fetch("database", 0)}" }
Sidekiq.configure_client { |config| config.redis = server }
Sidekiq.configure_server do |config|
  config.redis = server
  config.on(:quiet) { tell("q") }
end

def tell(word)
  File.open(ENV.fetch("GATE_STARTED"), "w") { |pipe| pipe.write(word) }
end

# The job: says that it has begun, and waits. The driver alone keeps `GATE_RELEASE` open for writing, so that a driver
# that is gone lets every job end.
class Hold
  include Sidekiq::Worker

  def perform
    tell("s")
    File.open(ENV.fetch("GATE_RELEASE"), "r") { |pipe| pipe.read(1) }
  end
end

# In a `sidekiq` process: it ends with the driver, whose end closes stdin, and in any case.
if Sidekiq.server?
  Thread.new do
    Timeout.timeout(GIVEN.fetch("seconds", 120)) { $stdin.read } rescue nil
    exit!(0)
  end
end

class Driver
  def initialize
    @folder = Dir.mktmpdir("tidegate-gate-")
    @pipes = %w[started release].to_h do |name|
      path = File.join(@folder, name)
      File.mkfifo(path)
      ENV["GATE_#{name.upcase}"] = path
      [name, File.open(path, File::RDWR)]
    end
    @processes = []
  end

  def enqueue(count, delay_s: nil)
    count.times do
      hold = Hold.set(queue: GIVEN["queue"])
      delay_s ? hold.perform_in(delay_s) : hold.perform_async
    end
  end

  def take(count, expect: count)
    command = ["sidekiq", "-r", File.expand_path(__FILE__), "-c", count.to_s, "-q", GIVEN["queue"], "-e", "production"]
    input, _, thread = Open3.popen2(*command, out: :err)
    @processes << { input: input, pid: thread.pid, quiet: false }
    await("s", expect)
  end

  def finish(count)
    quiet
    before = processed
    @pipes["release"].syswrite("." * count)
    # What has ended is seen from outside at the next heartbeat, seconds later.
    wait_for("jobs to end") { processed >= before + count }
  end

  # Sidekiq::Workers and ::ProcessSet are what its web page shows: the last heartbeat of each process.
  def report
    queue = Sidekiq::Queue.new(GIVEN["queue"])
    now = Time.now
    {
      depth: queue.size,
      in_flight: Sidekiq::Workers.new.count { |_, _, work| work["queue"] == GIVEN["queue"] },
      due: [Sidekiq::ScheduledSet.new, Sidekiq::RetrySet.new].sum do |set|
        set.count { |job| job.queue == GIVEN["queue"] && job.at <= now }
      end,
      oldest_age_s: queue.size.zero? ? nil : queue.latency,
      scheduled: Sidekiq::ScheduledSet.new.size,
      busy: Sidekiq::ProcessSet.new.sum { |process| process["busy"] },
    }
  end

  def close
    @processes.each { |process| process[:input].close }
    FileUtils.rm_r(@folder)
  end

  private

  # From now on no process fetches; what they run goes on.
  def quiet
    loud = @processes.reject { |process| process[:quiet] }
    loud.each { |process| Process.kill("TSTP", process[:pid]) }
    await("q", loud.size)
    loud.each { |process| process[:quiet] = true }
  end

  def processed
    Sidekiq::Stats.new.processed
  end

  # Until workers have said `word` so often.
  def await(word, times)
    Timeout.timeout(PATIENCE_S) do
      times.times do
        heard = @pipes["started"].readpartial(1)
        raise "heard #{heard} instead of #{word}" unless heard == word
      end
    end
  end

  def wait_for(what)
    deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + PATIENCE_S
    until yield
      raise "waited #{PATIENCE_S} s for #{what}" if Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline
      sleep 0.05
    end
  end
end

unless Sidekiq.server?
  Thread.new { sleep GIVEN.fetch("seconds", 120); exit!(3) }
  # What libraries print goes to stderr.
  answers = $stdout.dup
  $stdout.reopen($stderr)
  answers.sync = true
  driver = Driver.new
  answers.puts JSON.generate(ready: "sidekiq", version: Sidekiq::VERSION)
  while (line = $stdin.gets)
    command = JSON.parse(line, symbolize_names: true)
    name = command.delete(:do)
    break if name == "quit"
    begin
      raise NoMethodError, "sidekiq has no #{name}" unless %w[enqueue take finish report].include?(name)
      count = command.delete(:count)
      answer = driver.public_send(name, *[count].compact, **command)
      answers.puts JSON.generate({ ok: true, **(answer.is_a?(Hash) ? answer : {}) })
    rescue StandardError => error
      answers.puts JSON.generate(error: "#{error.class}: #{error.message}")
    end
  end
  driver.close
  answers.puts JSON.generate(ok: true)
  exit!(0)
end
