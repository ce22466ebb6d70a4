// Runs one case of SoftHSM2's p11test in a process of its own: its main() runs all in one, where a crash ends the run
// and the child that a case forks goes on with the cases that follow. Without an argument it lists the cases.
#include <cppunit/Exception.h>
#include <cppunit/SourceLine.h>
#include <cppunit/Test.h>
#include <cppunit/TestFailure.h>
#include <cppunit/TestResult.h>
#include <cppunit/TestResultCollector.h>
#include <cppunit/extensions/TestFactoryRegistry.h>
#include <iostream>
#include <sys/wait.h>
#include <unistd.h>

static void list(CPPUNIT_NS::Test *test) {
    if (test->getChildTestCount() == 0)
        std::cout << test->getName() << std::endl;
    for (int child = 0; child < test->getChildTestCount(); child++)
        list(test->getChildTestAt(child));
}

int main(int count, char **arguments) {
    CPPUNIT_NS::Test *all = CPPUNIT_NS::TestFactoryRegistry::getRegistry().makeTest();
    if (count < 2) {
        list(all);
        return 0;
    }
    const pid_t parent = getpid();
    CPPUNIT_NS::TestResult controller;
    CPPUNIT_NS::TestResultCollector result;
    controller.addListener(&result);
    all->findTest(arguments[1])->run(&controller);
    bool good = result.runTests() == 1 && result.wasSuccessful();
    for (const CPPUNIT_NS::TestFailure *failure : result.failures())
        std::cout << (getpid() == parent ? "" : "forked child: ") << failure->sourceLine().fileName() << ':'
                  << failure->sourceLine().lineNumber() << ' ' << failure->thrownException()->what() << std::endl;
    for (int status; wait(&status) > 0;)
        good = good && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    return good ? 0 : 1;
}
