# What the formula uses of Homebrew, on directories of a test's own: as little of it as the formula needs, and an error
# for the rest. Written from Homebrew's documentation (docs.brew.sh/Formula-Cookbook, rubydoc.brew.sh/Formula).
#
# usage: ruby formula_double.rb FORMULA PREFIX SYSTEM ARCH ARCHIVE
#        installs the archive into PREFIX as brew would on that system (macos, linux) and arch (arm, intel), and runs
#        the test. With "-" for ARCHIVE it prints url and sha256 instead.
require "digest"
require "fileutils"
require "open3"
require "pathname"
require "tmpdir"

FORMULA, PREFIX, SYSTEM, ARCH, ARCHIVE = ARGV

class Pathname
  # Moves files into a directory, with whatever modes they have.
  def install(*sources)
    sources.flatten.each do |source|
      raise "cannot install #{source}: it is not there" unless File.exist?(source)

      mkpath
      FileUtils.mv(source, self)
    end
  end
end

class Formula
  class << self
    attr_reader :facts, :test_block

    def inherited(formula)
      super
      formula.instance_variable_set(:@facts, {})
      @last = formula
    end

    attr_reader :last

    [:desc, :homepage, :version, :license, :url, :sha256].each do |name|
      define_method(name) do |value|
        raise "#{name} is said twice" if @facts.key?(name)

        @facts[name] = value
      end
    end

    { on_macos: ["macos", SYSTEM], on_linux: ["linux", SYSTEM],
      on_arm: ["arm", ARCH], on_intel: ["intel", ARCH] }.each do |name, (wanted, ours)|
      define_method(name) { |&block| block.call if wanted == ours }
    end

    def test(&block)
      @test_block = block
    end
  end

  def prefix = Pathname(PREFIX)
  def bin = prefix/"bin"
  def libexec = prefix/"libexec"
  def man1 = prefix/"share/man/man1"
  def bash_completion = prefix/"etc/bash_completion.d"
  def zsh_completion = prefix/"share/zsh/site-functions"
  def fish_completion = prefix/"share/fish/vendor_completions.d"
  def version = self.class.facts.fetch(:version)
  def testpath = Pathname.pwd

  def system(*command)
    Kernel.system(*command.map(&:to_s), exception: true)
  end

  def shell_output(command, expected = 0)
    output, status = Open3.capture2(command)
    assert_equal expected, status.exitstatus
    output
  end

  def assert_equal(expected, found)
    raise "expected #{expected.inspect}, found #{found.inspect}" if expected != found
  end

  def assert_match(expected, found)
    raise "expected #{expected.inspect} in #{found.inspect}" unless found.match?(expected)
  end
end

load FORMULA
facts = Formula.last.facts
if ARCHIVE == "-"
  puts facts.fetch(:url), facts.fetch(:sha256)
  exit
end

formula = Formula.last.new
Dir.mktmpdir do |directory|
  formula.assert_equal facts.fetch(:sha256), Digest::SHA256.file(ARCHIVE).hexdigest
  Kernel.system("tar", "-xzf", ARCHIVE, "-C", directory, exception: true)
  # Homebrew goes into the only directory of an archive.
  tops = Dir.children(directory)
  formula.assert_equal 1, tops.length
  Dir.chdir(File.join(directory, tops.first)) { formula.install }
end
Dir.mktmpdir do |home|
  ENV["HOME"] = home
  Dir.chdir(home) { formula.instance_eval(&Formula.last.test_block) }
end
